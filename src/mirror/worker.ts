import { isLoopback, formatReference, type Repository } from '../core/reference.ts';
import { asMirrorError, MirrorError, type Side } from '../core/errors.ts';
import type { Mirror, Phase } from '../core/mirror.ts';
import type { CopyEvent, Endpoint, Executor } from '../executor/executor.ts';
import type { Keychain } from '../keychain/keychain.ts';
import { createKeyedMutex } from '../lib/mutex.ts';
import type { Access, Manifest, Registry } from '../registry/registry.ts';
import { onSide } from './side.ts';
import { readTree, type Tree } from './tree.ts';

/** What a copy is made with. */
export interface Tools {
  registry: Registry;
  executor: Executor;
  /** What the configuration says of a host. */
  hosts: Map<string, { ca?: string | undefined; insecure?: boolean | undefined }>;
  /** Seconds that one copy may take. */
  timeLimit: number;
  /** Seconds that one may stand still. */
  stallLimit: number;
}

/** Seconds that reading the target before and after the copy, and the tag, may take. */
const checkLimit = 300;

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
  const { registry, executor } = tools;
  const tags = createKeyedMutex();

  const access = async (
    keychain: Keychain,
    repository: Repository,
    side: Side,
    signal: AbortSignal,
  ): Promise<Access> =>
    onSide(side, async () => ({ credential: await keychain.resolve(repository, signal), signal }));

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

  async function copy(mirror: Mirror, from: Access, to: Access, listener: Listener): Promise<void> {
    listener.phase('copying');
    const { id, digest, source, target } = mirror;
    const stop = new AbortController();
    const unsupported = readTree(registry, source, digest, from).then(
      (tree) => {
        if (!tree) return undefined;
        listener.tree(tree);
        for (const layer of tree.foreign)
          listener.note(`Layer ${layer} is foreign: it has URLs of its own and may not be in the registry.`);
        return undefined;
      },
      (caught: unknown) => {
        const error = asMirrorError(caught);
        // The tree is only wanted for the totals; Skopeo meets every other fault by itself and tells it better.
        if (error.code !== 'unsupported_manifest') return undefined;
        stop.abort();
        return error.at('source');
      },
    );
    const job = {
      id,
      digest,
      source: endpoint(source, from),
      target: endpoint(target, to),
      timeLimit: tools.timeLimit,
      stallLimit: tools.stallLimit,
    };
    try {
      await executor.run(job, (event) => listener.event(event), AbortSignal.any([to.signal, stop.signal]));
    } catch (error) {
      throw (stop.signal.aborted && (await unsupported)) || error;
    }
    await unsupported;
  }

  /** Reads the whole tree back from the target; undefined when it is not all there. */
  async function held({ target, digest }: Mirror, to: Access): Promise<Tree | undefined> {
    return readTree(registry, target, digest, to).catch((error: unknown) => {
      if (error instanceof MirrorError && error.code === 'manifest_unknown') return undefined;
      throw error;
    });
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
      const from = await access(keychain, mirror.source, 'source', signal);
      const to = await access(keychain, mirror.target, 'target', signal);
      let tree = await onSide('target', () => held(mirror, to));
      if (tree) {
        listener.note('The target holds every manifest already; nothing to copy.');
      } else {
        await onSide('target', async () => keychain.prepare?.(mirror.target, signal));
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
      await setTag(mirror, tree.root, from, to, listener);
    },
  };
}
