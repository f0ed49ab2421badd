import { randomUUID } from 'node:crypto';
import type { Digest } from '../core/digest.ts';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import type { Mirror } from '../core/mirror.ts';
import { formatReference } from '../core/reference.ts';
import type { MirrorFilter, MirrorPage, Page } from '../db/list.ts';
import type { RequestStore, StoredRequest } from '../db/requests.ts';
import { createMemo } from '../lib/memo.ts';
import type { Queue } from '../queue/queue.ts';
import type { Caller } from './caller.ts';
import {
  createDecider,
  type DeciderOptions,
  type Decision,
  type Repetition,
  type Submission,
} from './decision.ts';
import { deadlineIn, untilDeadline } from './retry.ts';
import { type Forecast, forecastBudgets } from './forecast.ts';
import type { Runner } from './runner.ts';

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

/** What the API needs of this room. Every method throws MirrorError only. */
export interface MirrorService {
  submit(submission: Submission, caller: Caller): Promise<Answer>;
  /** What a submission would do. It reads the source's manifests, which a quota of pulls counts. */
  forecast(submission: Submission, caller: Caller): Promise<Forecast>;
  request(requestId: string): Promise<RequestRecord | undefined>;
  mirror(mirrorId: string): Promise<Mirror | undefined>;
  /** Whether the caller asked for this mirror, or is an administrator. */
  mayReadLog(mirrorId: string, caller: Caller): Promise<boolean>;
  log(mirrorId: string): Promise<string>;
  /**
   * Ends a mirror that is under way; one that was cancelled stays so. Its copy ends within two seconds.
   * @throws MirrorError `unknown_id`, `already_ended`, `forbidden` for who has not asked for it, or not alone.
   */
  cancel(mirrorId: string, caller: Caller): Promise<Mirror>;
  /**
   * Asks for the same source and target again, as the caller; what is on its way, and pauses by our own wish, goes on now.
   * @throws MirrorError `unknown_id`, `forbidden` for who has not asked for it, and all that a submit does.
   */
  retry(mirrorId: string, caller: Caller): Promise<Answer>;
  /**
   * Newest first: all for an administrator, for others what they have asked for.
   * @throws MirrorError `forbidden` for who names a tenant and is no administrator.
   */
  list(filter: MirrorFilter, page: Page, caller: Caller): Promise<MirrorPage>;
}

export interface ServiceOptions extends DeciderOptions {
  requests: RequestStore;
  queue: Queue;
  runner: Runner;
  /** Seconds for which a submit goes on asking what is down for a moment. */
  budget: number;
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

/** Records that are kept for status calls, and milliseconds for which a mirror's is good, unless its end is seen here. */
const statusLimit = 10_000;
const statusAge = 100;

export function createMirrorService(
  options: ServiceOptions,
): MirrorService & { start(copies: number): Promise<void> } {
  const { mirrors, requests, queue, runner } = options;
  const { decide, foresee } = createDecider(options);
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
    // Its mirror's record was too old. Without it nobody can say how that ended; it must not seem to be done.
    if (request?.mirrorId !== undefined && !request.cached && !mirror) return undefined;
    return request && { ...request, ...(mirror && { mirror }) };
  }

  async function ask(
    wanted: Submission | Repetition,
    { image, dryRun }: { image: string; dryRun: boolean },
    caller: Caller,
  ): Promise<Answer> {
    const deadline = deadlineIn(options.budget);
    // A second round only when what was joined, or started, is cancelled before the request is on record.
    for (let round = 0; round < 3; round++) {
      const decision = await decide(wanted, caller, deadline).catch((error: unknown) => {
        throw asMirrorError(error);
      });
      const { target, digest, present: cached, mirrorId } = decision;
      const facts = { ...(mirrorId && { mirrorId }), target, digest, cached };
      const { tenant } = caller;
      const record = { id: newRequestId(), ...facts, tenant, image, dryRun, createdAt: new Date() };
      const write = () => untilDeadline(deadline, () => requests.add(record));
      let requestId = record.id;
      if (cached && !dryRun)
        requestId = await shareRecord(decision, caller, () => write().then(() => record.id));
      else if (!(await write())) continue;
      return { requestId, ...facts, succeeded: cached || dryRun };
    }
    throw new MirrorError('cancelled', 'It is being cancelled again and again.', { retryable: true });
  }

  /** @throws MirrorError `unknown_id`, `forbidden`. */
  async function findOwn(mirrorId: string, caller: Caller): Promise<Mirror> {
    const mirror = await mirrors.get(mirrorId);
    if (!mirror) throw new MirrorError('unknown_id', 'There is no mirror with this id.');
    if (!caller.admin && !(await requests.asked(mirrorId, caller.tenant)))
      throw new MirrorError('forbidden', 'Only who has asked for this mirror may do that.');
    return mirror;
  }

  return {
    submit: (submission, caller) => ask(submission, submission, caller),
    forecast: (submission, caller) =>
      foresee(submission, caller, deadlineIn(options.budget * forecastBudgets)),
    async cancel(mirrorId, caller) {
      const deadline = deadlineIn(options.budget);
      const failure = new MirrorError('cancelled', 'It was cancelled.').toFailure();
      const outcome = await untilDeadline(deadline, async () => {
        await findOwn(mirrorId, caller);
        return mirrors.cancel(mirrorId, {
          ...{ failure, at: new Date() },
          ...(!caller.admin && { tenant: caller.tenant }),
          unqueue: (transaction) => queue.remove(mirrorId, transaction),
        });
      });
      if (outcome === 'shared')
        throw new MirrorError('forbidden', 'Others wait for this mirror too.', {
          remedy: 'Leave it to them, or have an administrator cancel it.',
        });
      runner.stop(mirrorId);
      const mirror = await knownMirrors.renew(mirrorId, () => mirrors.get(mirrorId));
      if (mirror?.state === 'cancelled') return mirror;
      throw new MirrorError('already_ended', `This mirror is ${mirror?.state ?? 'gone'} already.`);
    },
    async retry(mirrorId, caller) {
      const { source, target, selection } = await untilDeadline(deadlineIn(options.budget), () =>
        findOwn(mirrorId, caller),
      );
      const image = formatReference(source);
      const answer = await ask({ route: { source, target }, selection }, { image, dryRun: false }, caller);
      const now = answer.mirrorId === undefined ? undefined : await mirrors.get(answer.mirrorId);
      // A pause that a registry has asked for is kept. If this fails it is woken by its time.
      if (now?.wait && now.wait.host === undefined) await queue.wake(now.id).catch(() => undefined);
      return answer;
    },
    request: findRequest,
    mirror: findMirror,
    mayReadLog: async (mirrorId, caller) => caller.admin || requests.asked(mirrorId, caller.tenant),
    log: async (mirrorId) => (await mirrors.log(mirrorId)) ?? '',
    async list(filter, page, { admin, tenant }) {
      if (!admin && filter.tenant !== undefined)
        throw new MirrorError('forbidden', 'Only an administrator may list what others have asked for.');
      return mirrors.list(admin ? filter : { ...filter, tenant }, page);
    },
    start: (copies) =>
      queue.work(copies, (mirrorId, signal) =>
        runner.run(mirrorId, signal).finally(() => knownMirrors.drop(mirrorId)),
      ),
  };
}
