import type { Digest } from '../core/digest.ts';
import { asMirrorError, type ErrorCode, loginRefused, MirrorError, type Side } from '../core/errors.ts';
import type { Mirror, Phase, VerifyLevel } from '../core/mirror.ts';
import { isLoopback } from '../core/reference.ts';
import type { CopyEvent, Endpoint, Executor } from '../executor/executor.ts';
import type { Access, Registry } from '../registry/registry.ts';
import type { Pacer } from './pacing.ts';
import type { Entry } from './place.ts';
import { type Found, listReferrers } from './referrers.ts';
import { onSide } from './side.ts';
import { fromTheLeaves, gone, readTree, type Tree } from './tree.ts';

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
  /** How a target is looked at before its tag is set. */
  verify: VerifyLevel;
}

/** Milliseconds that a registry may take to answer when it is asked whether it still does. */
const answerLimit = 5000;

/** Failures of a push that may have another reason than their status tells. */
const asksAgain = new Set<ErrorCode>(['registry_unavailable', 'rate_limited']);

/** What Skopeo says of an index that has an index in it. */
const refusesTree = new Set<ErrorCode>(['unsupported_manifest', 'copy_failed']);

/** Hears how a copy goes. */
export interface Listener {
  phase(phase: Phase): void;
  tree(tree: Tree): void;
  event(event: CopyEvent): void;
  note(line: string): void;
}

export interface Copied {
  /** Blobs that had to be moved. */
  moved: Set<Digest>;
  /** What refers to the image at the source, where that has been found meanwhile. */
  referring?: Found[] | undefined;
}

/** Moves an image from one repository to another; sets no tag. */
export interface Copier {
  /**
   * Resolves when everything wanted under the mirror's digest was pushed.
   * @throws MirrorError with the side at fault; `sparse_index_refused`, `platform_unknown`.
   */
  copy(mirror: Mirror, from: Entry, to: Entry, listener: Listener): Promise<Copied>;
}

export function createCopier(tools: Tools): Copier {
  const { registry, executor } = tools;

  const endpoint = ({ repository: { registry: host, path }, access: { credential } }: Entry): Endpoint => {
    const { ca, insecure } = tools.hosts.get(host) ?? {};
    return {
      registry: host,
      path,
      ...(credential && { credential }),
      insecure: insecure ?? (isLoopback(host) && ca === undefined),
      ...(ca !== undefined && { caFile: ca }),
    };
  };

  /** One tree of manifests, by the executor. */
  async function transfer(
    mirror: Mirror,
    digest: Digest,
    from: Entry,
    to: Entry,
    listener: Listener,
    moved: Set<Digest>,
    signal: AbortSignal = to.access.signal,
  ): Promise<void> {
    const job = {
      id: mirror.id,
      digest,
      source: endpoint(from),
      target: endpoint(to),
      timeLimit: tools.timeLimit,
      stallLimit: tools.stallLimit,
    };
    const worked = new Set<Side>();
    const onTheWay = new Set<Digest>();
    const hear = (event: CopyEvent) => {
      if (event.type === 'blob') {
        worked.add(event.state === 'started' ? 'source' : 'target');
        if (event.state === 'done') moved.add(event.digest);
        if (event.state === 'started') onTheWay.add(event.digest);
        else onTheWay.delete(event.digest);
      }
      listener.event(event);
    };
    try {
      await executor.run(job, hear, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      const known = asMirrorError(error);
      // Where both stand still, nothing that Skopeo shows tells which of them began.
      const stalled =
        known.code === 'timeout' && !known.side && (await silent(mirror, from, to, [...onTheWay]));
      throw stalled ? known.at(stalled) : await seenCloser(known, mirror, to, worked);
    }
  }

  async function copy(mirror: Mirror, from: Entry, to: Entry, listener: Listener): Promise<Copied> {
    listener.phase('copying');
    const { source, digest, selection } = mirror;
    const stop = new AbortController();
    let referring: Promise<Found[]> | undefined;
    const moved = new Set<Digest>();
    const counting = count(mirror, from, listener).then((tree) => {
      if (!tree) return undefined;
      referring = listReferrers(from, tree.manifests.keys(), selection.referrers);
      referring.catch(() => undefined);
      if (tree.nested) stop.abort();
      return tree;
    });
    if (selection.platforms) {
      const tree = await onSide('source', () => counting);
      if (!tree) throw gone(source, digest);
      await copyParts(mirror, tree, from, to, listener, moved);
      return { moved, referring: await referring };
    }
    const counted = counting.catch((caught: unknown) => {
      const error = asMirrorError(caught);
      // The tree is only wanted for the totals; Skopeo meets every other fault by itself and tells it better.
      if (error.code !== 'unsupported_manifest') return undefined;
      stop.abort();
      return error.at('source');
    });
    try {
      await transfer(
        mirror,
        digest,
        from,
        to,
        listener,
        moved,
        AbortSignal.any([to.access.signal, stop.signal]),
      );
    } catch (error) {
      if (to.access.signal.aborted) throw error;
      // Skopeo may have met what it can't copy before we have.
      const asks = stop.signal.aborted || refusesTree.has(asMirrorError(error).code);
      const known = asks && (await counted);
      if (!known || (known instanceof MirrorError ? !stop.signal.aborted : !known.nested)) throw error;
      if (known instanceof MirrorError) throw known;
      await copyParts(mirror, known, from, to, listener, moved);
    }
    await counted;
    return { moved, referring: await referring };
  }

  /** Image by image, and the indexes by ourselves: Skopeo copies all of an index, and none that has an index in it. */
  async function copyParts(
    mirror: Mirror,
    tree: Tree,
    from: Entry,
    to: Entry,
    listener: Listener,
    moved: Set<Digest>,
  ): Promise<void> {
    for (const manifest of fromTheLeaves(tree)) {
      if (!tree.children.has(manifest.digest)) {
        await transfer(mirror, manifest.digest, from, to, listener, moved);
        continue;
      }
      await onSide('target', () =>
        registry.putManifest(mirror.target, manifest.digest, manifest, to.access),
      ).catch((caught: unknown) => {
        const error = asMirrorError(caught);
        throw tree.partial && ['copy_failed', 'push_refused'].includes(error.code)
          ? new MirrorError(
              'sparse_index_refused',
              `${mirror.target.registry} takes no index of which only some platforms are there. ${error.message}`,
              { side: 'target' },
            )
          : error;
      });
    }
  }

  /**
   * What there is to copy. Where reading is counted and little is left, it is known only when it has arrived, unless
   * some of it is to be chosen.
   */
  async function count(
    { source, digest, selection }: Mirror,
    { access, lane }: Entry,
    listener: Listener,
  ): Promise<Tree | undefined> {
    if (lane.isScarce() && !selection.platforms) return undefined;
    const tree = await readTree(registry, source, digest, access, selection.platforms);
    if (tree) listener.tree(tree);
    return tree;
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
    // It was good a moment ago: its token has expired, or was taken back.
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

  return { copy };
}
