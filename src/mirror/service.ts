import { randomBytes, randomUUID } from 'node:crypto';
import type { Digest } from '../core/digest.ts';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import { isFinal, type Mirror, type MirrorState, noProgress } from '../core/mirror.ts';
import { formatReference, formatRepository, type Reference } from '../core/reference.ts';
import type { Claim, MirrorStore } from '../db/mirrors.ts';
import type { RequestStore, StoredRequest } from '../db/requests.ts';
import { createMemo } from '../lib/memo.ts';
import { createKeyedMutex } from '../lib/mutex.ts';
import type { Queue } from '../queue/queue.ts';
import type { Looks } from './look.ts';
import { type Plan, planRoute } from './plan.ts';
import { createReport } from './report.ts';
import { deadlineIn, maxAttempts, untilDeadline } from './retry.ts';
import { type Route, routeOf } from './target.ts';
import type { Worker } from './worker.ts';

/** Who asks. */
export interface Caller {
  /** The key's id; requests and the right to read logs belong to it. */
  keyId: string;
  admin: boolean;
}

/** A checked request to mirror one image. */
export interface Submission {
  /** The source reference as the caller wrote it. */
  image: string;
  /** The target: host, or host and path. */
  repository: string;
  /** Validate and answer, start nothing. */
  dryRun: boolean;
}

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

export interface ServiceOptions {
  mirrors: MirrorStore;
  requests: RequestStore;
  queue: Queue;
  looks: Looks;
  worker: Worker;
  /** Whether the target, which has the digest, has all the manifests under it. */
  isWhole: (plan: Plan, deadline: number) => Promise<boolean>;
  overwrite: 'same-origin' | 'always';
  /** Seconds for which an answer "it is there" may be given again. */
  freshness: number;
  /** Seconds for which a submit goes on asking what is down for a moment. */
  budget: number;
  /** Rejects when the data folder has no room for another copy. */
  checkDisk: () => Promise<void>;
  /** Hears of every mirror that came to an end, or to its next try. */
  onOutcome: (mirror: Mirror, error?: MirrorError) => void;
  onError: (error: unknown) => void;
}

/** What was found out, or started, for one route. */
interface Decision {
  target: string;
  digest: Digest;
  present: boolean;
  mirrorId?: string;
  at: number;
  /** The records of requests that it has answered, by key. */
  records: Map<string, Promise<string>>;
}

/** The time in front, so that new rows go to one end of their index; then 122 random bits. */
function newRequestId(): string {
  return Date.now().toString(16) + randomUUID().replaceAll('-', '');
}

/**
 * One record for all that a key asks while a decision "it is there" stands: they differ in nothing but their ids,
 * which have a part of their own behind the record's (docs/adr/0004-one-record-while-an-answer-stands.md).
 */
async function shareRecord(
  { records }: Decision,
  { keyId }: Caller,
  write: () => Promise<string>,
): Promise<string> {
  let written = records.get(keyId);
  if (!written) {
    written = write();
    records.set(keyId, written);
    written.catch(() => records.delete(keyId));
  }
  return `${await written}-${randomUUID().slice(0, 8)}`;
}

/** Where two sources could meet: one tag of a target, whatever digest is asked for with it. */
function tagged({ registry, path, tag, digest }: Reference): string {
  return formatReference({ registry, path, ...(tag ? { tag } : digest && { digest }) });
}

function recordOf(requestId: string): string {
  return requestId.split('-', 1)[0] ?? '';
}

/** Records that are kept for status calls, and milliseconds for which a mirror's is good, unless its end is seen here. */
const statusLimit = 10_000;
const statusAge = 100;

/** Decisions "present" that are kept for those who ask again within the freshness. */
const decisionLimit = 10_000;

export function createMirrorService(
  options: ServiceOptions,
): MirrorService & { start(copies: number): Promise<void> } {
  const { mirrors, requests, queue, looks, worker, freshness } = options;
  const present = new Map<string, Decision>();
  const underWay = new Map<string, Promise<Decision>>();
  const targets = createKeyedMutex();
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

  /** One decision for all who ask for the same thing at the same time. */
  async function decide(submission: Submission, deadline: number): Promise<Decision> {
    const key = `${submission.image}\n${submission.repository}`;
    const known = present.get(key);
    if (known && performance.now() - known.at < freshness * 1000) return known;
    present.delete(key);
    if (submission.dryRun) return consider(routeOf(submission.image, submission.repository), true, deadline);
    let decision = underWay.get(key);
    if (!decision) {
      const route = routeOf(submission.image, submission.repository);
      decision = targets.run(tagged(route.target), () => consider(route, false, deadline));
      underWay.set(key, decision);
      const done = () => void underWay.delete(key);
      decision.then((made) => {
        done();
        if (!made.present) return;
        present.set(key, made);
        if (present.size > decisionLimit) present.delete(present.keys().next().value as string);
      }, done);
    }
    return decision;
  }

  function consider(route: Route, dryRun: boolean, deadline: number): Promise<Decision> {
    // Our own disk or database may be away for a moment too; what the looks found is still good then.
    return untilDeadline(deadline, () => tryToDecide(route, dryRun, deadline));
  }

  async function tryToDecide(route: Route, dryRun: boolean, deadline: number): Promise<Decision> {
    const plan = await planRoute(route, looks, deadline);
    const { digest, at } = plan;
    const decision = { target: formatReference(plan.target), digest, at, records: new Map() };
    if (plan.present && (await options.isWhole(plan, deadline))) {
      const record = await mirrors.onRecord(plan.target, digest);
      return { ...decision, present: true, ...(record && { mirrorId: record.id }) };
    }
    await refuseForeignOrigin(plan);
    if (dryRun) return { ...decision, present: false };
    const mirror = await startOrJoin(plan);
    return { ...decision, present: false, mirrorId: mirror.id };
  }

  /** Two sources that map to one target: the second is told so, instead of getting, or replacing, the first. */
  async function refuseForeignOrigin({ source, target, digest, setsTag, held }: Plan): Promise<void> {
    if (options.overwrite === 'always' || !setsTag) return;
    const other = (await mirrors.atTarget(target)).find(
      (mirror) =>
        mirror.digest !== digest &&
        formatRepository(mirror.source) !== formatRepository(source) &&
        (held !== undefined || !isFinal(mirror.state)),
    );
    if (other)
      throw new MirrorError(
        'origin_conflict',
        `${formatReference(target)} is a mirror of ${formatReference(other.source)}; ${formatReference(source)} has other content and would replace it.`,
        { side: 'target' },
      );
  }

  async function startOrJoin({ source, target, digest }: Plan): Promise<Mirror> {
    await options.checkDisk();
    const mirror: Mirror = {
      id: `mr-${randomBytes(16).toString('hex')}`,
      source,
      target,
      digest,
      state: 'queued',
      progress: noProgress,
      attempts: 0,
      createdAt: new Date(),
    };
    // A second round only when the one to join ended between two statements.
    for (let round = 0; round < 3; round++) {
      const joined = await mirrors.create(mirror, (transaction) => queue.enqueue(mirror.id, transaction));
      if (joined) return joined;
    }
    throw new MirrorError('internal', `${formatReference(target)} could neither be started nor joined.`);
  }

  /** One claim of one mirror's job. Rejects to give the job back. */
  async function work(mirrorId: string, signal: AbortSignal): Promise<void> {
    const claim = await mirrors.claim(mirrorId, new Date());
    if (!claim) return;
    const { source, target, digest } = claim.mirror;
    const report = createReport(claim, mirrors, options.onError);
    report.note(`Copying ${formatReference(source)} to ${formatReference(target)}, ${digest}.`);
    let failure: MirrorError | undefined;
    try {
      await worker.run(claim.mirror, report, signal);
      report.note('Done: the target holds the same digest.');
    } catch (caught) {
      failure = asMirrorError(caught);
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
    const again = stopped || (failure.retryable && mirror.attempts < maxAttempts);
    const settled = await mirrors.settle(claim, again ? 'queued' : 'failed', {
      ...outcome,
      ...(stopped ? { uncounted: true } : { failure: failure.toFailure() }),
    });
    if (settled && !stopped) options.onOutcome(mirror, failure);
    if (again) throw failure;
  }

  return {
    async submit(submission, caller) {
      const { dryRun, image } = submission;
      const deadline = deadlineIn(options.budget);
      const decision = await decide(submission, deadline).catch((error: unknown) => {
        throw asMirrorError(error);
      });
      const { target, digest, present: cached, mirrorId } = decision;
      const write = async () => {
        const record = {
          id: newRequestId(),
          ...(mirrorId && { mirrorId }),
          keyId: caller.keyId,
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
    mayReadLog: async (mirrorId, caller) => caller.admin || requests.asked(mirrorId, caller.keyId),
    log: async (mirrorId) => (await mirrors.log(mirrorId)) ?? '',
    list: (page, caller) => mirrors.list({ ...page, ...(!caller.admin && { keyId: caller.keyId }) }),
    start: (copies) => queue.work(copies, work),
  };
}
