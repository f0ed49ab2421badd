import { randomBytes } from 'node:crypto';
import type { Digest } from '../core/digest.ts';
import { asMirrorError, loginRefused, MirrorError } from '../core/errors.ts';
import type { Grant } from '../core/grant.ts';
import { isFinal, type Mirror, noProgress } from '../core/mirror.ts';
import { formatReference, formatRepository, type Reference } from '../core/reference.ts';
import { type Choice, formatSelection, select, type Selection } from '../core/selection.ts';
import type { MirrorStore } from '../db/mirrors.ts';
import type { Keychain } from '../keychain/keychain.ts';
import { createKeyedMutex } from '../lib/mutex.ts';
import type { Sealer } from '../lib/seal.ts';
import type { Queue } from '../queue/queue.ts';
import type { PushCheck } from './access.ts';
import { type Caller, poolOf } from './caller.ts';
import type { Forecast, Forecaster } from './forecast.ts';
import type { Observatory } from './look.ts';
import { type Plan, planRoute } from './plan.ts';
import { enforce, type Policy } from './policy.ts';
import type { Presence } from './presence.ts';
import { advise, placeOf } from './remedy.ts';
import { untilDeadline } from './retry.ts';
import { type Route, routeOf } from './target.ts';

/** A checked request to mirror one image. */
export interface Submission {
  /** The source reference as the caller wrote it. */
  image: string;
  /** The target: host, or host and path. */
  repository: string;
  /** What of it; what is left out is as the installation has it. */
  choice?: Choice;
  /** Validate and answer, start nothing. */
  dryRun: boolean;
}

/** What has been asked for before, to be asked for again. */
export interface Repetition {
  route: Route;
  selection: Selection;
}

/** What was found out, or started, for one route. */
export interface Decision {
  target: string;
  digest: Digest;
  present: boolean;
  mirrorId?: string;
  at: number;
  /** The records of requests that it has answered, by tenant. */
  records: Map<string, Promise<string>>;
}

/** What has to be decided, for whom. */
interface Matter {
  route: Route;
  selection: Selection;
  caller: Caller;
  dryRun: boolean;
}

/** Finds out, or starts, what a submission asks for. @throws MirrorError. */
export type Decide = (wanted: Submission | Repetition, caller: Caller, deadline: number) => Promise<Decision>;

export interface Decider {
  decide: Decide;
  /**
   * What a submission would do. Rules that are about content are told, not enforced.
   * @throws MirrorError for all else that a submit would be refused with.
   */
  foresee(wanted: Submission, caller: Caller, deadline: number): Promise<Forecast>;
}

export interface DeciderOptions {
  mirrors: MirrorStore;
  queue: Pick<Queue, 'enqueue'>;
  observatory: Observatory;
  /** The logins that a caller may use; absent grant: those of this installation. */
  keychainOf: (grant: Grant | undefined) => Keychain;
  checkPush: PushCheck;
  /** Keeps the grants of mirrors that wait. */
  sealer: Sealer;
  presence: Presence;
  policy: Policy;
  measure: Forecaster;
  /** What is wanted of an image where a submission does not say. */
  selection: Selection;
  overwrite: 'same-origin' | 'always';
  /** Seconds for which an answer "it is there" may be given again. */
  freshness: number;
  /** Rejects when the data folder has no room for another copy. */
  checkDisk: () => Promise<void>;
}

/** Decisions "present" that are kept for those who ask again within the freshness. */
const decisionLimit = 10_000;

/** Where two sources could meet: one tag of a target, whatever digest is asked for with it. */
function tagged({ registry, path, tag, digest }: Reference): string {
  return formatReference({ registry, path, ...(tag ? { tag } : digest && { digest }) });
}

/** What a mirror's grant is sealed for. */
export function grantPurpose(mirrorId: string): string {
  return `grant:${mirrorId}`;
}

/** Milliseconds by which the clocks of several processes may differ. */
const skew = 60_000;

/** @param time Date.now(). An end that is yet to come was written before the clock was set back: long ago. */
function endedSince(time: number, { finishedAt }: Mirror): boolean {
  const at = finishedAt?.getTime() ?? 0;
  return at >= time && at <= Date.now() + skew;
}

export function createDecider(options: DeciderOptions): Decider {
  const { mirrors, queue, sealer, freshness } = options;
  const present = new Map<string, Decision>();
  const underWay = new Map<string, Promise<Decision>>();
  const targets = createKeyedMutex();

  /** One decision for all who ask for the same thing, with the same logins, at the same time. */
  async function decide(
    wanted: Submission | Repetition,
    caller: Caller,
    deadline: number,
  ): Promise<Decision> {
    const again = 'route' in wanted;
    const dryRun = !again && wanted.dryRun;
    const what = again
      ? [formatReference(wanted.route.source), formatReference(wanted.route.target), 'again']
      : [wanted.image, wanted.repository];
    const selection = again ? wanted.selection : select(wanted.choice ?? {}, options.selection);
    // What launched a run may be what logs it in.
    const key = [
      poolOf(caller.tenant),
      options.policy.groupOf(caller.tenant),
      ...what,
      formatSelection(selection),
      caller.grant?.workflowId ?? '',
    ].join('\n');
    // Many who ask for the same thing need it read once.
    const read = () => (again ? wanted.route : routeOf(wanted.image, wanted.repository));
    const known = present.get(key);
    if (known && performance.now() - known.at < freshness * 1000) return known;
    present.delete(key);
    if (dryRun) return consider({ route: read(), selection, caller, dryRun }, deadline);
    let decision = underWay.get(key);
    if (!decision) {
      const route = read();
      decision = consider({ route, selection, caller, dryRun }, deadline);
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

  function consider(matter: Matter, deadline: number): Promise<Decision> {
    // Our own disk or database may be away for a moment too; what the looks found is still good then.
    return untilDeadline(deadline, () => tryToDecide(matter, deadline)).catch((error: unknown) => {
      const { grant } = matter.caller;
      throw advise(asMirrorError(error), matter.route, grant && placeOf(grant));
    });
  }

  async function tryToDecide(
    { route, selection, caller, dryRun }: Matter,
    deadline: number,
  ): Promise<Decision> {
    const { policy } = options;
    enforce(policy.judgeNames(route, caller.tenant));
    const keychain = options.keychainOf(caller.grant);
    const plan = await planRoute(route, options.observatory.as(keychain), deadline);
    enforce(await policy.judge({ tenant: caller.tenant, plan, selection }, keychain, deadline));
    const { digest, at, target } = plan;
    const decision = { target: formatReference(target), digest, at, records: new Map() };
    const answerPresent = async () => {
      const record = await mirrors.onRecord(target, digest, poolOf(caller.tenant));
      return { ...decision, present: true, ...(record && { mirrorId: record.id }) };
    };
    const held = plan.present
      ? await options.presence(plan, selection, keychain, deadline, dryRun)
      : ('less' as const);
    if (held === 'all') return answerPresent();
    const mayPush = (strict: boolean) => options.checkPush(target, { keychain, strict, dryRun }, deadline);
    try {
      await mayPush(caller.grant !== undefined);
    } catch (error) {
      // Whoever signs an image at its source must not take it away from those who may only pull it.
      if (held === 'image' && loginRefused.has(asMirrorError(error).code)) return answerPresent();
      throw error;
    }
    if (dryRun) {
      await refuseForeignOrigin(plan, caller);
      return { ...decision, present: false };
    }
    // One at a time for each target, so that of two origins the second sees the first. Registries are asked before:
    // who waits for a slow one must not keep others from their target.
    const mirror = await targets.run(tagged(target), async () => {
      await refuseForeignOrigin(plan, caller);
      return startOrJoin(plan, selection, caller);
    });
    if (poolOf(mirror.tenant) !== poolOf(caller.tenant)) {
      // Who joins a copy that others' logins make must be able to make it as well.
      await mayPush(true);
      // Its record names a source that is theirs; when it has ended, what is there is there for everybody.
      if (formatRepository(mirror.source) !== formatRepository(route.source))
        throw new MirrorError(
          'origin_conflict',
          `The same content is on its way to ${formatReference(target)} from another source.`,
          { side: 'target', retryable: true, remedy: 'Ask again when it has arrived.' },
        );
    }
    return { ...decision, present: false, mirrorId: mirror.id };
  }

  /** Two sources that map to one target: the second is told so, instead of getting, or replacing, the first. */
  async function refuseForeignOrigin(plan: Plan, { tenant }: Caller): Promise<void> {
    const { source, target, digest, setsTag, held } = plan;
    const looked = Date.now() - (performance.now() - plan.at);
    if (options.overwrite === 'always' || !setsTag) return;
    const other = (await mirrors.atTarget(target)).find(
      (mirror) =>
        mirror.digest !== digest &&
        formatRepository(mirror.source) !== formatRepository(source) &&
        // What ended after the look has set a tag that the look has not seen.
        (held !== undefined || !isFinal(mirror.state) || endedSince(looked, mirror)),
    );
    if (!other) return;
    // What others mirror, and from where, is theirs to tell.
    const origin = poolOf(other.tenant) === poolOf(tenant) ? formatReference(other.source) : 'another source';
    throw new MirrorError(
      'origin_conflict',
      `${formatReference(target)} is a mirror of ${origin}; ${formatReference(source)} has other content and would replace it.`,
      { side: 'target' },
    );
  }

  async function startOrJoin(
    { source, target, digest }: Plan,
    selection: Selection,
    { tenant, grant }: Caller,
  ): Promise<Mirror> {
    await options.checkDisk();
    const mirror: Mirror = {
      id: `mr-${randomBytes(16).toString('hex')}`,
      tenant,
      source,
      target,
      digest,
      selection,
      state: 'queued',
      progress: noProgress,
      attempts: 0,
      createdAt: new Date(),
    };
    const sealed = grant && sealer.seal(JSON.stringify(grant), grantPurpose(mirror.id));
    // A second round only when the one to join ended between two statements.
    for (let round = 0; round < 3; round++) {
      const joined = await mirrors.create(mirror, sealed, (transaction) =>
        queue.enqueue(mirror.id, transaction),
      );
      if (joined) return joined;
    }
    throw new MirrorError('internal', `${formatReference(target)} could neither be started nor joined.`);
  }

  async function foresee(wanted: Submission, caller: Caller, deadline: number): Promise<Forecast> {
    const route = routeOf(wanted.image, wanted.repository);
    const selection = select(wanted.choice ?? {}, options.selection);
    const { policy } = options;
    const { tenant, grant } = caller;
    try {
      enforce(policy.judgeNames(route, tenant));
      const keychain = options.keychainOf(grant);
      const means = { looks: options.observatory.as(keychain), keychain };
      const measured = await options.measure(route, selection, means, deadline);
      const { plan, present } = measured;
      const judge = () => policy.judge({ tenant, plan, selection }, keychain, deadline);
      const rules = await untilDeadline(deadline, judge);
      if (!present) {
        const strict = grant !== undefined;
        await options.checkPush(plan.target, { keychain, strict, dryRun: true }, deadline);
        await refuseForeignOrigin(plan, caller);
      }
      return { ...measured, rules };
    } catch (error) {
      throw advise(asMirrorError(error), route, grant && placeOf(grant));
    }
  }

  return { decide, foresee };
}
