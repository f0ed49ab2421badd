import { randomUUID } from 'node:crypto';
import type { Digest } from '../core/digest.ts';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import { isFinal, type Mirror, type MirrorState } from '../core/mirror.ts';
import { formatReference } from '../core/reference.ts';
import type { RequestStore, StoredRequest } from '../db/requests.ts';
import { createMemo } from '../lib/memo.ts';
import type { Queue } from '../queue/queue.ts';
import type { Caller } from './caller.ts';
import { createDecider, type DeciderOptions, type Decision, type Submission } from './decision.ts';
import { deadlineIn, untilDeadline } from './retry.ts';
import type { Runner } from './runner.ts';
import { repositoryOf } from './target.ts';

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
  /**
   * Ends a mirror that is under way, and stops its copy.
   * @returns its record; that of one which was cancelled before, too.
   * @throws MirrorError `unknown_id`; `already_ended`; `forbidden` when the caller has not asked for it, or others
   *   have too and it is no administrator.
   */
  cancel(mirrorId: string, caller: Caller): Promise<Mirror>;
  /**
   * Asks again for what a mirror was asked for, as this caller; one that pauses between two tries goes on at once.
   * @throws MirrorError as `submit` does; `unknown_id`; `forbidden` when the caller has not asked for it.
   */
  retry(mirrorId: string, caller: Caller): Promise<Answer>;
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
  const decide = createDecider(options);
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

  async function submit(submission: Submission, caller: Caller): Promise<Answer> {
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
  }

  /** @throws MirrorError when the caller has no say in this mirror. */
  async function claimed(mirrorId: string, caller: Caller): Promise<Mirror> {
    const mirror = await mirrors.get(mirrorId);
    if (!mirror) throw new MirrorError('unknown_id', 'There is no mirror with this id.');
    if (!caller.admin && !(await requests.asked(mirrorId, caller.tenant)))
      throw new MirrorError('forbidden', 'Only who asked for this mirror has a say in it.');
    return mirror;
  }

  return {
    submit,
    async cancel(mirrorId, caller) {
      const before = await claimed(mirrorId, caller);
      if (!isFinal(before.state) && !caller.admin && (await requests.askedByOthers(mirrorId, caller.tenant)))
        throw new MirrorError('forbidden', 'Others wait for this copy too, so it goes on.', {
          remedy: 'Leave it, or ask an administrator to cancel it for all.',
        });
      const failure = new MirrorError('cancelled', 'It was cancelled.').toFailure();
      await mirrors.cancel(mirrorId, failure, new Date(), (transaction) =>
        queue.remove(mirrorId, transaction),
      );
      runner.stop(mirrorId);
      knownMirrors.drop(mirrorId);
      const mirror = await claimed(mirrorId, caller);
      if (mirror.state === 'cancelled') return mirror;
      throw new MirrorError('already_ended', `This mirror has ended already: it is ${mirror.state}.`);
    },
    async retry(mirrorId, caller) {
      const mirror = await claimed(mirrorId, caller);
      const image = formatReference(mirror.source);
      const answer = await submit({ image, repository: repositoryOf(mirror), dryRun: false }, caller);
      // A registry that asked to wait is still waited for: its way in is closed.
      if (answer.mirrorId === mirrorId && mirror.wait) await queue.wake(mirrorId);
      return answer;
    },
    request: findRequest,
    mirror: findMirror,
    mayReadLog: async (mirrorId, caller) => caller.admin || requests.asked(mirrorId, caller.tenant),
    log: async (mirrorId) => (await mirrors.log(mirrorId)) ?? '',
    list: (page, caller) => mirrors.list({ ...page, ...(!caller.admin && { tenant: caller.tenant }) }),
    start: (copies) =>
      queue.work(copies, (mirrorId, signal) =>
        runner.run(mirrorId, signal).finally(() => knownMirrors.drop(mirrorId)),
      ),
  };
}
