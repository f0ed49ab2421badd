import { randomUUID } from 'node:crypto';
import type { Digest } from '../core/digest.ts';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import type { Grant } from '../core/grant.ts';
import { type Mirror, type MirrorState } from '../core/mirror.ts';
import { formatReference } from '../core/reference.ts';
import type { Claim } from '../db/mirrors.ts';
import type { RequestStore, StoredRequest } from '../db/requests.ts';
import { createBreaker } from '../lib/breaker.ts';
import { createMemo } from '../lib/memo.ts';
import type { Queue } from '../queue/queue.ts';
import type { Caller } from './caller.ts';
import {
  createDecider,
  type DeciderOptions,
  type Decision,
  grantPurpose,
  type Submission,
} from './decision.ts';
import { advise, somebodysPlace } from './remedy.ts';
import { createReport } from './report.ts';
import { deadlineIn, maxAttempts, untilDeadline } from './retry.ts';
import { onSide } from './side.ts';
import type { Worker } from './worker.ts';

/** What a caller is told at once. */
export interface Answer {
  /** Unguessable: the only secret of the status call. */
  requestId: string;
  /** The target reference that the client will pull. */
  target: string;
  /** Absent when nothing had to be copied and nothing is on record. */
  mirrorId?: string;
  digest: Digest;
  /** The target already holds the source's digest. */
  cached: boolean;
  /** The image is there now, or (dry run) there is nothing to wait for. */
  succeeded: boolean;
}

/** A request on record, with its mirror where there is one. */
export interface RequestRecord extends StoredRequest {
  mirror?: Mirror;
}

export interface ListOptions {
  limit: number;
  /** Continue after this mirror id, newest first. */
  before?: string;
  state?: MirrorState;
}

/** What the API needs of this room. Every method throws MirrorError only. */
export interface MirrorService {
  submit(submission: Submission, caller: Caller): Promise<Answer>;
  request(requestId: string): Promise<RequestRecord | undefined>;
  mirror(mirrorId: string): Promise<Mirror | undefined>;
  /** Whether the caller asked for this mirror, or is an administrator. */
  mayReadLog(mirrorId: string, caller: Caller): Promise<boolean>;
  log(mirrorId: string): Promise<string>;
  /** Newest first; an administrator's sees all, another caller's only what it asked for. */
  list(options: ListOptions, caller: Caller): Promise<Mirror[]>;
}

export interface ServiceOptions extends DeciderOptions {
  requests: RequestStore;
  queue: Queue;
  worker: Worker;
  /** Seconds for which a submit goes on asking what is down for a moment. */
  budget: number;
  /** Hears of every mirror that came to an end, or to its next try. */
  onOutcome: (mirror: Mirror, error?: MirrorError) => void;
  onError: (error: unknown) => void;
}

/** The time in front, so that new rows go to one end of their index; then 122 random bits. */
function newRequestId(): string {
  return Date.now().toString(16) + randomUUID().replaceAll('-', '');
}

/**
 * One record for all that a tenant asks while a decision "it is there" stands: they differ in nothing but their ids,
 * which have a part of their own behind the record's (docs/adr/0004-one-record-while-an-answer-stands.md).
 */
async function shareRecord(
  { records }: Decision,
  { tenant }: Caller,
  write: () => Promise<string>,
): Promise<string> {
  let written = records.get(tenant);
  if (!written) {
    written = write();
    records.set(tenant, written);
    written.catch(() => records.delete(tenant));
  }
  return `${await written}-${randomUUID().slice(0, 8)}`;
}

function recordOf(requestId: string): string {
  return requestId.split('-', 1)[0] ?? '';
}

/** Milliseconds for which a mirror waits for Seqera Platform to come back; no try of it counts. */
const platformPatience = 3_600_000;
/** Milliseconds between two looks whether it is back. */
const platformPause = 3000;

/** Records that are kept for status calls, and milliseconds for which a mirror's is good, unless its end is seen here. */
const statusLimit = 10_000;
const statusAge = 100;

export function createMirrorService(
  options: ServiceOptions,
): MirrorService & { start(copies: number): Promise<void> } {
  const { mirrors, requests, queue, worker, sealer } = options;
  const decide = createDecider(options);
  // A Platform that is away must not take the places of all copies, each waiting for it in vain.
  const platforms = createBreaker({
    pause: platformPause,
    isAway: (error) => asMirrorError(error).code === 'platform_unavailable',
    refusal: (endpoint) =>
      new MirrorError('platform_unavailable', `${endpoint} did not answer a moment ago.`),
  });
  // Thousands of tasks ask for the status of one mirror every second.
  const knownRequests = createMemo<StoredRequest | undefined>(statusLimit);
  const knownMirrors = createMemo<Mirror | undefined>(statusLimit);

  const findMirror = (id: string) => knownMirrors.get(id, statusAge, () => mirrors.get(id));

  async function findRequest(requestId: string): Promise<RequestRecord | undefined> {
    const id = recordOf(requestId);
    // A record never changes.
    const request = await knownRequests.get(id, Infinity, () => requests.get(id));
    if (!request) knownRequests.drop(id);
    const mirror = request?.mirrorId === undefined ? undefined : await findMirror(request.mirrorId);
    return request && { ...request, ...(mirror && { mirror }) };
  }

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

  /** One claim of one mirror's job. Rejects to give the job back. */
  async function work(mirrorId: string, signal: AbortSignal): Promise<void> {
    const claim = await mirrors.claim(mirrorId, new Date());
    if (!claim) return;
    const { source, target, digest } = claim.mirror;
    const report = createReport(claim, mirrors, options.onError);
    report.note(`Copying ${formatReference(source)} to ${formatReference(target)}, ${digest}.`);
    let failure: MirrorError | undefined;
    let grant: Grant | undefined;
    try {
      grant = grantOf(claim);
      const keychain = options.keychainOf(grant);
      if (grant) {
        const { endpoint } = grant;
        await onSide('target', () => platforms.run(endpoint, () => keychain.resolve(target, signal)));
      }
      await worker.run(claim.mirror, keychain, report, signal);
      report.note('Done: the target holds the same digest.');
    } catch (caught) {
      failure = advise(asMirrorError(caught), claim.mirror, grant && somebodysPlace);
      if (failure.code === 'internal') options.onError(caught);
      report.note(`${failure.code}: ${failure.message}`);
    }
    await report.close(!failure);
    await settle(claim, failure, report.exitCode, signal).finally(() => knownMirrors.drop(mirrorId));
  }

  async function settle(
    claim: Claim,
    failure: MirrorError | undefined,
    exitCode: number | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { mirror } = claim;
    const outcome = { at: new Date(), ...(exitCode !== undefined && { exitCode }) };
    if (!failure) {
      if (await mirrors.settle(claim, 'done', outcome)) options.onOutcome(mirror);
      return;
    }
    // Stopped by us, or the claim was lost: nothing has failed, and whoever claims it next goes on.
    const stopped = signal.aborted;
    const waits =
      failure.code === 'platform_unavailable' &&
      failure.retryable &&
      outcome.at.getTime() - mirror.createdAt.getTime() < platformPatience;
    const again = stopped || waits || (failure.retryable && mirror.attempts < maxAttempts);
    const settled = await mirrors.settle(claim, again ? 'queued' : 'failed', {
      ...outcome,
      ...((stopped || waits) && { uncounted: true }),
      ...(!stopped && { failure: failure.toFailure() }),
    });
    if (settled && !stopped) options.onOutcome(mirror, failure);
    if (again) throw failure;
  }

  return {
    async submit(submission, caller) {
      const { dryRun, image } = submission;
      const deadline = deadlineIn(options.budget);
      const decision = await decide(submission, caller, deadline).catch((error: unknown) => {
        throw asMirrorError(error);
      });
      const { target, digest, present: cached, mirrorId } = decision;
      const write = async () => {
        const record = {
          id: newRequestId(),
          ...(mirrorId && { mirrorId }),
          tenant: caller.tenant,
          image,
          target,
          digest,
          cached,
          dryRun,
          createdAt: new Date(),
        };
        await untilDeadline(deadline, () => requests.add(record));
        return record.id;
      };
      const requestId = cached && !dryRun ? await shareRecord(decision, caller, write) : await write();
      return {
        requestId,
        target,
        ...(mirrorId && { mirrorId }),
        digest,
        cached,
        succeeded: cached || dryRun,
      };
    },
    request: findRequest,
    mirror: findMirror,
    mayReadLog: async (mirrorId, caller) => caller.admin || requests.asked(mirrorId, caller.tenant),
    log: async (mirrorId) => (await mirrors.log(mirrorId)) ?? '',
    list: (page, caller) => mirrors.list({ ...page, ...(!caller.admin && { tenant: caller.tenant }) }),
    start: (copies) => queue.work(copies, work),
  };
}
