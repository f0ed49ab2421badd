import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import { type Mirror, noProgress } from '../core/mirror.ts';
import { formatReference, formatRepository } from '../core/reference.ts';
import { type Choice, select, type Selection } from '../core/selection.ts';
import type { Keychain } from '../keychain/keychain.ts';
import { type Forecast, forecastBudgets, type Forecaster } from './forecast.ts';
import type { Looks } from './look.ts';
import { type Plan, planRoute } from './plan.ts';
import { enforce, type Policy } from './policy.ts';
import type { Presence } from './presence.ts';
import { deadlineIn, pauseAfter, type RetrySettings, untilDeadline } from './retry.ts';
import { routeOf } from './target.ts';
import { createTracker } from './tracker.ts';
import type { Listener } from './copier.ts';
import type { Worker } from './worker.ts';

export interface LocalOptions {
  looks: Looks;
  keychain: Keychain;
  worker: Worker;
  /** Seconds for which a registry that is down for a moment is asked again. */
  budget: number;
  retry: RetrySettings;
  policy: Policy;
  measure: Forecaster;
  /** What is wanted of an image where a request does not say. */
  selection: Selection;
  presence: Presence;
}

/** Whom policy takes the user of a process for that mirrors by itself. */
const localTenant = 'local';

export interface LocalRequest {
  image: string;
  /** The target: host, or host and path. */
  repository: string;
  choice?: Choice;
  signal: AbortSignal;
  /** Hears of every change; the last one is what is returned. */
  onChange: (mirror: Mirror) => void;
  onLog: (line: string) => void;
}

export interface LocalMirror {
  /**
   * Mirrors one image in this process, without a record. Nothing is thrown for a failed image: the returned
   * mirror is `done`, `failed` or `cancelled`. Without a single try it was there already.
   * @throws MirrorError when the request itself is wrong, or its registries can't be looked at.
   */
  mirror(request: LocalRequest): Promise<Mirror>;
  /** What mirroring it would do. @throws MirrorError. */
  forecast(request: Pick<LocalRequest, 'image' | 'repository' | 'choice'>): Promise<Forecast>;
}

export function createLocalMirror({
  looks,
  keychain,
  worker,
  budget,
  retry,
  policy,
  measure,
  selection: fallback,
  presence,
}: LocalOptions): LocalMirror {
  /** Which source each target of this run comes from. */
  const origins = new Map<string, Plan>();

  /** Two images of one run that map to one target: without a record, this is all that can be known. */
  function refuseForeignOrigin(plan: Plan): void {
    const key = formatReference(plan.target);
    const other = origins.get(key);
    origins.set(key, other ?? plan);
    if (
      other &&
      other.digest !== plan.digest &&
      formatRepository(other.source) !== formatRepository(plan.source)
    )
      throw new MirrorError(
        'origin_conflict',
        `${key} is where ${formatReference(other.source)} goes; ${formatReference(plan.source)} has other content and would replace it.`,
        { side: 'target', remedy: 'Mirror one of them into another path of the target.' },
      );
  }

  return {
    async forecast({ image, repository, choice = {} }) {
      const selection = select(choice, fallback);
      const route = routeOf(image, repository);
      enforce(policy.judgeNames(route, localTenant));
      const deadline = deadlineIn(budget * forecastBudgets);
      const measured = await measure(route, selection, { looks, keychain }, deadline);
      const { plan } = measured;
      const matter = { tenant: localTenant, plan, selection };
      const rules = await untilDeadline(deadline, () => policy.judge(matter, keychain, deadline));
      return { ...measured, rules };
    },
    async mirror({ image, repository, choice = {}, signal, onChange, onLog }) {
      const selection = select(choice, fallback);
      const route = routeOf(image, repository);
      enforce(policy.judgeNames(route, localTenant));
      const deadline = deadlineIn(budget);
      const plan = await planRoute(route, looks, deadline);
      const matter = { tenant: localTenant, plan, selection };
      enforce(await untilDeadline(deadline, () => policy.judge(matter, keychain, deadline)));
      refuseForeignOrigin(plan);
      const present =
        plan.present &&
        (await untilDeadline(deadline, () => presence(plan, selection, keychain, deadline, false))) === 'all';
      let mirror: Mirror = {
        id: `mr-${randomBytes(16).toString('hex')}`,
        tenant: localTenant,
        source: plan.source,
        target: plan.target,
        digest: plan.digest,
        selection,
        state: present ? 'done' : 'queued',
        progress: noProgress,
        attempts: 0,
        createdAt: new Date(),
      };
      const change = (values: Partial<Mirror>) => {
        mirror = { ...mirror, ...values };
        // It ends with the pause.
        if (mirror.state !== 'queued') delete mirror.wait;
        onChange(mirror);
        return mirror;
      };
      if (present) return change({});
      const tracker = createTracker();
      const progressed = () => change({ progress: tracker.progress() });
      const listener: Listener = {
        phase: (phase) => change({ phase }),
        tree: (tree) => {
          tracker.expect(tree);
          progressed();
        },
        event: (event) => {
          if (event.type === 'exit') change({ exitCode: event.code });
          else if (event.type === 'log') onLog(event.line);
          else {
            tracker.see(event);
            progressed();
          }
        },
        note: onLog,
      };
      for (;;) {
        let pause: number;
        change({
          state: 'copying',
          startedAt: mirror.startedAt ?? new Date(),
          attempts: mirror.attempts + 1,
        });
        try {
          const arrival = await worker.run(mirror, keychain, listener, signal);
          tracker.finish();
          return change({ state: 'done', arrival, progress: tracker.progress(), finishedAt: new Date() });
        } catch (error) {
          const caught = asMirrorError(error);
          const failure = caught.toFailure();
          onLog(`${failure.code}: ${failure.message}`);
          if (signal.aborted) return change({ state: 'cancelled', failure, finishedAt: new Date() });
          const { retryable, retryAfter, side } = caught;
          // Whoever sits before it decides how long to wait for a registry that lets nobody in.
          const limited = caught.code === 'rate_limited' && retryAfter !== undefined;
          if (!retryable || (!limited && mirror.attempts >= retry.tries))
            return change({ state: 'failed', failure, finishedAt: new Date() });
          pause = limited ? retryAfter * 1000 : pauseAfter(mirror.attempts, retry, retryAfter);
          const host = limited && side ? mirror[side].registry : undefined;
          const wait = { until: new Date(Date.now() + pause), ...(host !== undefined && { host }) };
          change({ state: 'queued', failure, wait, ...(limited && { attempts: mirror.attempts - 1 }) });
        }
        // An abort is noticed by the next try, which ends at once.
        await sleep(pause, undefined, { signal }).catch(() => undefined);
      }
    },
  };
}
