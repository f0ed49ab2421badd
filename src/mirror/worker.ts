import { isLoopback, formatReference, type Repository } from '../core/reference.ts';
import type { Digest } from '../core/digest.ts';
import { asMirrorError, type ErrorCode, MirrorError, type Side } from '../core/errors.ts';
import type { Mirror, Phase } from '../core/mirror.ts';
import type { CopyEvent, Endpoint, Executor } from '../executor/executor.ts';
import type { Keychain } from '../keychain/keychain.ts';
import { createKeyedMutex } from '../lib/mutex.ts';
import type { Access, Manifest, Registry } from '../registry/registry.ts';
import type { Lane, Pacer } from './pacing.ts';
import { onSide } from './side.ts';
import { missingBlob, readTree, type Tree } from './tree.ts';

/** What a copy is made with. */
export interface Tools {
  registry: Registry;
  pacer: Pacer;
  executor: Executor;
  /** What the configuration says of a host. */
  hosts: Map<string, { ca?: string | undefined; insecure?: boolean | undefined }>;
  /** Seconds that one copy may take. */
  timeLimit: number;
  /** Seconds that one may stand still. */
  stallLimit: number;
}

/** Milliseconds that a registry may take to answer when it is asked whether it still does. */
const answerLimit = 5000;

/** Seconds that reading the target before and after the copy, and the tag, may take. */
const checkLimit = 300;

/** One side of a copy: its login, and the way in that is shared with all who have the same login. */
interface Entry {
  access: Access;
  lane: Lane;
}

/** Failures of a login that was good a moment ago: its token has expired, or was taken back. */
const loginRefused = new Set<ErrorCode>([
  'credentials_rejected',
  'login_required',
  'denied',
  'insufficient_scope',
]);
/** Failures of a push that may have another reason than their status tells. */
const asksAgain = new Set<ErrorCode>(['registry_unavailable', 'rate_limited']);

/** Hears how a copy goes. */
export interface Listener {
  phase(phase: Phase): void;
  tree(tree: Tree): void;
  event(event: CopyEvent): void;
  note(line: string): void;
}

/** Runs one mirror to its end. */
export interface Worker {
  /**
   * Resolves when the target holds every manifest under the digest, read back and hashed, and the tag, if one
   * is wanted, points at it. A tag is set last, so that none ever points at something incomplete.
   * @throws MirrorError with the side at fault.
   */
  run(mirror: Mirror, keychain: Keychain, listener: Listener, signal: AbortSignal): Promise<void>;
}

/**
 * @param superseded whether a mirror that was asked for later has already set this target's tag; this one must
 *   not turn it back then.
 */
export function createWorker(tools: Tools, superseded: (mirror: Mirror) => Promise<boolean>): Worker {
  const { registry, executor, pacer } = tools;
  const tags = createKeyedMutex();

  const entry = async (
    keychain: Keychain,
    repository: Repository,
    side: Side,
    signal: AbortSignal,
  ): Promise<Entry> =>
    onSide(side, async () => {
      const credential = await keychain.resolve(repository, signal);
      const lane = pacer.lane(repository.registry, credential);
      lane.enter(side);
      return { access: { credential, signal }, lane };
    });

  const endpoint = ({ registry: host, path }: Repository, { credential }: Access): Endpoint => {
    const { ca, insecure } = tools.hosts.get(host) ?? {};
    return {
      registry: host,
      path,
      ...(credential && { credential }),
      insecure: insecure ?? (isLoopback(host) && ca === undefined),
      ...(ca !== undefined && { caFile: ca }),
    };
  };

  async function copy(mirror: Mirror, from: Entry, to: Entry, listener: Listener): Promise<void> {
    listener.phase('copying');
    const { id, digest, source, target } = mirror;
    const stop = new AbortController();
    const unsupported = count(mirror, from, listener).catch((caught: unknown) => {
      const error = asMirrorError(caught);
      // The tree is only wanted for the totals; Skopeo meets every other fault by itself and tells it better.
      if (error.code !== 'unsupported_manifest') return undefined;
      stop.abort();
      return error.at('source');
    });
    const job = {
      id,
      digest,
      source: endpoint(source, from.access),
      target: endpoint(target, to.access),
      timeLimit: tools.timeLimit,
      stallLimit: tools.stallLimit,
    };
    const worked = new Set<Side>();
    const onTheWay = new Set<Digest>();
    const hear = (event: CopyEvent) => {
      if (event.type === 'blob') {
        worked.add(event.state === 'started' ? 'source' : 'target');
        if (event.state === 'started') onTheWay.add(event.digest);
        else onTheWay.delete(event.digest);
      }
      listener.event(event);
    };
    try {
      await executor.run(job, hear, AbortSignal.any([to.access.signal, stop.signal]));
    } catch (error) {
      if (stop.signal.aborted) throw (await unsupported) ?? error;
      const known = asMirrorError(error);
      // Where both stand still, nothing that Skopeo shows tells which of them began.
      const stalled =
        known.code === 'timeout' && !known.side && (await silent(mirror, from, to, [...onTheWay]));
      throw stalled ? known.at(stalled) : await seenCloser(known, mirror, to, worked);
    }
    await unsupported;
  }

  /** What there is to copy. Where reading is counted and little is left, it is known only when it has arrived. */
  async function count(
    { source, digest }: Mirror,
    { access, lane }: Entry,
    listener: Listener,
  ): Promise<undefined> {
    if (lane.isScarce()) return;
    const tree = await readTree(registry, source, digest, access);
    if (!tree) return;
    listener.tree(tree);
    for (const layer of tree.foreign)
      listener.note(`Layer ${layer} is foreign: it has URLs of its own and may not be in the registry.`);
  }

  /** The side that does not answer us either, asked for what Skopeo was at. */
  async function silent(
    { source, target }: Mirror,
    from: Entry,
    to: Entry,
    [blob]: Digest[],
  ): Promise<Side | undefined> {
    const hangs = async (ask: (access: Access) => Promise<unknown>, { access }: Entry) => {
      const limit = AbortSignal.timeout(Math.min(answerLimit, tools.stallLimit * 1000));
      await ask({ ...access, signal: AbortSignal.any([access.signal, limit]) }).catch(() => undefined);
      return limit.aborted;
    };
    const reads = async (access: Access) => {
      if (blob === undefined) return;
      for await (const _ of await registry.blob(source, blob, access)) return;
    };
    if (await hangs(reads, from)) return 'source';
    return (await hangs((access) => registry.checkPush(target, access), to)) ? 'target' : undefined;
  }

  /** Skopeo keeps to itself what a registry writes beside a status; and it never renews a token. */
  async function seenCloser(
    error: MirrorError,
    { target }: Mirror,
    { access }: Entry,
    worked: Set<Side>,
  ): Promise<MirrorError> {
    if (error.side && worked.has(error.side) && loginRefused.has(error.code))
      return error.with({
        retryable: true,
        message: `${error.message} It was accepted when this copy began.`,
      });
    if (error.side !== 'target' || !asksAgain.has(error.code) || error.retryAfter !== undefined) return error;
    const found = await registry.checkPush(target, access).then(
      () => undefined,
      (again: unknown) => asMirrorError(again),
    );
    return found && ['rate_limited', 'registry_full', 'quota_exceeded'].includes(found.code)
      ? found.at('target')
      : error;
  }

  /** Reads the whole tree back from the target; undefined when it, or a blob of it, is not all there. */
  async function held({ target, digest }: Mirror, { access }: Entry): Promise<Tree | undefined> {
    try {
      const tree = await readTree(registry, target, digest, access);
      return tree && (await missingBlob(registry, target, tree, access)) === undefined ? tree : undefined;
    } catch (error) {
      if (error instanceof MirrorError && error.code === 'manifest_unknown') return undefined;
      throw error;
    }
  }

  async function setTag(
    mirror: Mirror,
    root: Manifest,
    from: Access,
    to: Access,
    listener: Listener,
  ): Promise<void> {
    const { source, target, digest } = mirror;
    const { tag } = target;
    if (!tag) return;
    const tagged = { registry: target.registry, path: target.path, tag };
    await tags.run(formatReference(tagged), async () => {
      const before = await onSide('target', () => registry.resolve(tagged, to));
      if (before?.digest === digest) return;
      // Where the reference is pinned, or a later mirror has set the tag already, the source's tag decides.
      if ((source.digest && before) || (await superseded(mirror))) {
        const { registry: host, path } = source;
        const moving = await onSide('source', () => registry.resolve({ registry: host, path, tag }, from));
        if (moving?.digest !== digest)
          return listener.note(`The tag ${tag} stays as it is: the source's points elsewhere by now.`);
      }
      listener.phase('tagging');
      await onSide('target', () => registry.putManifest(target, tag, root, to));
      const after = await onSide('target', () => registry.resolve(tagged, to));
      if (after?.digest !== digest)
        throw new MirrorError(
          'digest_mismatch',
          `${formatReference(tagged)} was set but points at ${after?.digest ?? 'nothing'}, not at ${digest}.`,
          { side: 'target' },
        );
    });
  }

  return {
    async run(mirror, keychain, listener, stop) {
      // A registry that answers a byte at a time must not hold us for ever after the copy either.
      const limit = AbortSignal.timeout((tools.timeLimit + checkLimit) * 1000);
      const signal = AbortSignal.any([stop, limit]);
      listener.phase('planning');
      const from = await entry(keychain, mirror.source, 'source', signal);
      const to = await entry(keychain, mirror.target, 'target', signal);
      const lanes = { source: from.lane, target: to.lane };
      try {
        await mirrorOnce(mirror, keychain, from, to, listener);
        for (const lane of Object.values(lanes)) lane.passed();
      } catch (caught) {
        const error = asMirrorError(caught);
        throw error.code === 'rate_limited' && error.side ? lanes[error.side].throttle(error) : error;
      }
    },
  };

  async function mirrorOnce(
    mirror: Mirror,
    keychain: Keychain,
    from: Entry,
    to: Entry,
    listener: Listener,
  ): Promise<void> {
    let tree = await onSide('target', () => held(mirror, to));
    if (tree) {
      listener.note('The target holds everything already; nothing to copy.');
    } else {
      await onSide('target', async () => keychain.prepare?.(mirror.target, to.access.signal));
      await copy(mirror, from, to, listener);
      listener.phase('verifying');
      tree = await onSide('target', () => held(mirror, to));
      if (!tree)
        throw new MirrorError(
          'registry_unavailable',
          `${formatReference({ ...mirror.target, digest: mirror.digest })} was pushed, but the registry does not have all of it.`,
          { side: 'target' },
        );
    }
    listener.tree(tree);
    await setTag(mirror, tree.root, from.access, to.access, listener);
  }
}
