import { asMirrorError, MirrorError } from '../core/errors.ts';
import type { Grant } from '../core/grant.ts';
import type { Arrival, Mirror, Wait } from '../core/mirror.ts';
import { formatReference } from '../core/reference.ts';
import type { Claim, MirrorStore } from '../db/mirrors.ts';
import type { Keychain } from '../keychain/keychain.ts';
import { createBreaker } from '../lib/breaker.ts';
import type { Sealer } from '../lib/seal.ts';
import { grantPurpose } from './decision.ts';
import type { PushReceipt } from './receipt-push.ts';
import type { Receipts } from './receipts.ts';
import { advise, somebodysPlace } from './remedy.ts';
import { createReport, type Report } from './report.ts';
import { pauseAfter, type RetrySettings } from './retry.ts';
import { onSide } from './side.ts';
import type { Worker } from './worker.ts';

export interface RunnerOptions {
  mirrors: MirrorStore;
  worker: Worker;
  /** The logins that a mirror is made with; absent grant: those of this installation. */
  keychainOf: (grant: Grant | undefined) => Keychain;
  /** Signs what mirrors have brought. */
  receipts: Pick<Receipts, 'sign' | 'keep'>;
  /** Leaves receipts at the target; absent: they are kept here alone. */
  pushReceipt?: PushReceipt;
  /** Opens the grants of mirrors. */
  sealer: Sealer;
  retry: RetrySettings;
  /** Seconds for which a mirror may wait for registries that let nobody in. */
  patience: number;
  /** Hears of every mirror that came to an end, or to its next try. */
  onOutcome: (mirror: Mirror, outcome: Outcome) => void;
  onError: (error: unknown) => void;
}

export interface Outcome {
  /** Absent: it is done. */
  failure?: MirrorError;
  /** Present: it is done, but its receipt could not be left at the target. */
  unreceipted?: MirrorError;
  /** Present: it is tried again. */
  wait?: Wait;
}

/** A mirror that is done. */
interface Brought {
  at: Date;
  arrival: Arrival;
  receipt: string;
  unreceipted?: MirrorError;
}

/** Works on mirrors that the queue hands out. */
export interface Runner {
  /** One claim of one mirror. @returns milliseconds after which to come again; undefined when it has ended. */
  run(mirrorId: string, signal: AbortSignal): Promise<number | undefined>;
  /** Stops what this process does for a mirror; its record is somebody else's to change. */
  stop(mirrorId: string): void;
}

/** Milliseconds for which a mirror waits for Seqera Platform to come back; no try of it counts. */
const platformPatience = 3_600_000;
/** Milliseconds between two looks whether it is back. */
const platformPause = 3000;

export function createRunner(options: RunnerOptions): Runner {
  const { mirrors, worker, sealer, retry } = options;
  const running = new Map<string, AbortController>();
  // A Platform that is away must not take the places of all copies, each waiting for it in vain.
  const platforms = createBreaker({
    pause: platformPause,
    isAway: (error) => asMirrorError(error).code === 'platform_unavailable',
    refusal: (endpoint) =>
      new MirrorError('platform_unavailable', `${endpoint} did not answer a moment ago.`),
  });

  /** The logins of the one who asked, as they are now. */
  function grantOf({ mirror, sealedGrant }: Claim): Grant | undefined {
    if (sealedGrant === undefined) return undefined;
    const opened = sealer.open(sealedGrant, grantPurpose(mirror.id));
    if (opened === undefined)
      throw new MirrorError(
        'grant_lost',
        'The tokens that came with this request can not be read any more: the master key is another one now.',
      );
    return JSON.parse(opened) as Grant;
  }

  /** @param shutdown the process ends, or the queue took the job back. */
  async function work(
    claim: Claim,
    stop: AbortController,
    shutdown: AbortSignal,
  ): Promise<number | undefined> {
    const { mirror } = claim;
    const { source, target, digest } = mirror;
    const signal = AbortSignal.any([stop.signal, shutdown]);
    // Cancelled, or claimed by somebody who thought us dead.
    const report = createReport(claim, mirrors, { onLost: () => stop.abort(), onError: options.onError });
    report.note(`Copying ${formatReference(source)} to ${formatReference(target)}, ${digest}.`);
    let end: Brought | MirrorError;
    let grant: Grant | undefined;
    try {
      grant = grantOf(claim);
      const keychain = options.keychainOf(grant);
      if (grant) {
        const { endpoint } = grant;
        await onSide('target', () => platforms.run(endpoint, () => keychain.resolve(target, signal)));
      }
      end = await bring(mirror, keychain, grant, report, signal);
      report.note('Done: the target holds the same digest.');
    } catch (caught) {
      end = advise(asMirrorError(caught), mirror, grant && somebodysPlace);
      if (end.code === 'internal') options.onError(caught);
      const stopped = shutdown.aborted
        ? 'Stopped: the service ends. It goes on.'
        : stop.signal.aborted && 'Stopped: it was cancelled, or another process has taken it over.';
      report.note(stopped || `${end.code}: ${end.message}`);
    }
    await report.close(!(end instanceof MirrorError));
    const exit = report.exitCode !== undefined && { exitCode: report.exitCode };
    if (!(end instanceof MirrorError)) {
      const { unreceipted, ...brought } = end;
      if (await mirrors.settle(claim, 'done', { ...brought, ...exit }))
        options.onOutcome(mirror, unreceipted ? { unreceipted } : {});
      return undefined;
    }
    const failure = end;
    const outcome = { at: new Date(), ...exit };
    if (stop.signal.aborted) return undefined;
    // Nothing has failed, and whoever claims it next goes on.
    if (shutdown.aborted) {
      return (await mirrors.settle(claim, 'queued', { ...outcome, uncounted: true })) ? 0 : undefined;
    }
    const next = nextTry(mirror, failure, grant, report.gotFurther());
    const wait = next && waitOf(next.pause, next.host);
    const settled = await mirrors.settle(claim, next ? 'queued' : 'failed', {
      ...outcome,
      failure: failure.toFailure(),
      ...(wait && { wait }),
      ...(next?.uncounted && { uncounted: true }),
    });
    // Whoever has claimed or ended it meanwhile says when it comes again.
    if (!settled) return undefined;
    options.onOutcome(mirror, { failure, ...(wait && { wait }) });
    return next?.pause;
  }

  /** Brings a mirror, signs what it has brought, and leaves that at the target where so configured. */
  async function bring(
    mirror: Mirror,
    keychain: Keychain,
    grant: Grant | undefined,
    report: Report,
    signal: AbortSignal,
  ): Promise<Brought> {
    const { receipts, pushReceipt } = options;
    const arrival = await worker.run(mirror, keychain, report, signal);
    const at = new Date();
    const receipt = await receipts.sign(mirror, arrival, at);
    if (!pushReceipt) return { at, arrival, receipt };
    // Kept first: another try shows this one again, and not one more.
    const shown = await receipts.keep(mirror, receipt);
    try {
      await pushReceipt(mirror, shown, keychain, signal);
      return { at, arrival, receipt: shown };
    } catch (caught) {
      const unreceipted = asMirrorError(caught);
      if (signal.aborted || nextTry(mirror, unreceipted, grant, report.gotFurther())) throw unreceipted;
      // The image is there, which is what was asked for.
      if (unreceipted.code === 'internal') options.onError(caught);
      report.note(`Its receipt could not be left there. ${unreceipted.code}: ${unreceipted.message}`);
      return { at, arrival, receipt: shown, unreceipted };
    }
  }

  /** When a mirror that has failed is to be tried again, and who asked for the pause; undefined: never. */
  function nextTry(
    { attempts, createdAt, source, target }: Mirror,
    { code, side, retryable, retryAfter }: MirrorError,
    grant: Grant | undefined,
    gotFurther: boolean,
  ): { pause: number; host?: string; uncounted?: boolean } | undefined {
    if (!retryable) return undefined;
    const age = Date.now() - createdAt.getTime();
    if (code === 'platform_unavailable' && age < platformPatience)
      return { pause: platformPause, uncounted: true, ...(grant && { host: grant.endpoint }) };
    if (code === 'rate_limited') {
      // A cloud's own API names no time: as long again as it has waited already.
      const seconds = Math.max(1, retryAfter ?? Math.min(age / 1000, retry.longestPause));
      if (age + seconds * 1000 > options.patience * 1000) return undefined;
      const host = side && { source, target }[side].registry;
      // Not all who wait for it at the same instant.
      const pause = seconds * 1000 * (1 + Math.random() / 50);
      return { pause, uncounted: true, ...(host !== undefined && { host }) };
    }
    // Slow going, such as with tokens that end in the middle of a copy, is no failing: it comes to an end.
    if (!gotFurther && attempts >= retry.tries) return undefined;
    return { pause: pauseAfter(attempts, retry, retryAfter), uncounted: gotFurther };
  }

  return {
    async run(mirrorId, shutdown) {
      const stop = new AbortController();
      // Before the claim: whoever cancels a moment after it must be heard.
      running.set(mirrorId, stop);
      try {
        const claim = await mirrors.claim(mirrorId, new Date());
        return claim && (await work(claim, stop, shutdown));
      } finally {
        if (running.get(mirrorId) === stop) running.delete(mirrorId);
      }
    },
    stop: (mirrorId) => running.get(mirrorId)?.abort(),
  };
}

function waitOf(pause: number, host: string | undefined): Wait {
  return { until: new Date(Date.now() + pause), ...(host !== undefined && { host }) };
}
