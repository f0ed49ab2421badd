import type { Digest } from '../core/digest.ts';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import type { Arrival, Mirror } from '../core/mirror.ts';
import { formatReference, type Repository } from '../core/reference.ts';
import type { Keychain } from '../keychain/keychain.ts';
import { createKeyedMutex, type KeyedMutex } from '../lib/mutex.ts';
import type { Access, Manifest } from '../registry/registry.ts';
import { type Copied, createCopier, type Listener, type Tools } from './copier.ts';
import { bringReferrers } from './delivery.ts';
import { type Entry, enter } from './place.ts';
import { type Found, listReferrers, missingReferrers } from './referrers.ts';
import { onSide } from './side.ts';
import { readTree, type Tree } from './tree.ts';
import { blobsOf, holdsBlobs } from './verify.ts';

/** Seconds that reading the target before and after the copy, and the tag, may take. */
const checkLimit = 300;

/** Runs one mirror to its end. */
export interface Worker {
  /**
   * Resolves when the target holds every manifest under the digest that is wanted, read back and hashed, what refers to
   * them, and the tag, if one is wanted, points at it. A tag is set last, so that none ever points at something incomplete.
   * @throws MirrorError with the side at fault.
   */
  run(mirror: Mirror, keychain: Keychain, listener: Listener, signal: AbortSignal): Promise<Arrival>;
}

/**
 * @param superseded whether a mirror that was asked for later has already set this target's tag; this one must
 *   not turn it back then.
 * @param checkMove throws when policy keeps this target's tag where it is.
 * @param tags shared by all who change tags.
 */
export function createWorker(
  tools: Tools,
  superseded: (mirror: Mirror) => Promise<boolean>,
  checkMove: (mirror: Mirror, held: Digest) => void,
  tags: KeyedMutex = createKeyedMutex(),
): Worker {
  const { registry, verify: level } = tools;
  const copier = createCopier(tools);

  /** Reads the whole tree back from the target; undefined when it, or a blob of it, is not all there. */
  async function held({ target, digest, selection }: Mirror, { access }: Entry): Promise<Tree | undefined> {
    try {
      const tree = await readTree(registry, target, digest, access, selection.platforms);
      return tree && (await holdsBlobs(registry, target, tree, access, level)) ? tree : undefined;
    } catch (error) {
      if (error instanceof MirrorError && error.code === 'manifest_unknown') return undefined;
      throw error;
    }
  }

  /** Brings what refers to the image and is not at the target yet. @returns all of it, and how many had to be brought. */
  async function bring(
    mirror: Mirror,
    tree: Tree,
    known: Found[] | undefined,
    from: Entry,
    to: Entry,
    listener: Listener,
  ): Promise<{ found: Found[]; moved: number }> {
    let found = known ?? (await listReferrers(from, tree.manifests.keys(), mirror.selection.referrers));
    const missing = await missingReferrers(from, to, found, level, (referrer, why) => {
      found = found.filter((each) => each !== referrer);
      listener.note(`Left out ${referrer.digest}, which refers to ${referrer.subject}: ${why}.`);
    });
    if (missing.length === 0) return { found, moved: 0 };
    listener.note(`Bringing ${missing.length} of ${found.length} that refer to the image.`);
    await bringReferrers(from, to, missing, tags);
    const [lost] = await missingReferrers(from, to, missing, level);
    if (lost) throw incomplete(mirror.target, lost.digest);
    return { found, moved: missing.length };
  }

  async function setTag(
    mirror: Mirror,
    root: Manifest,
    from: Access,
    to: Access,
    listener: Listener,
  ): Promise<boolean> {
    const { source, target, digest } = mirror;
    const { tag } = target;
    if (!tag) return true;
    const tagged = { registry: target.registry, path: target.path, tag };
    return tags.run(formatReference(tagged), async () => {
      const before = await onSide('target', () => registry.resolve(tagged, to));
      if (before?.digest === digest) return true;
      // Where the reference is pinned, or a later mirror has set the tag already, the source's tag decides.
      if ((source.digest && before) || (await superseded(mirror))) {
        const { registry: host, path } = source;
        const moving = await onSide('source', () => registry.resolve({ registry: host, path, tag }, from));
        if (moving?.digest !== digest) {
          listener.note(`The tag ${tag} stays as it is: the source's points elsewhere by now.`);
          return false;
        }
      }
      // It may have been set since the mirror was asked for.
      if (before) checkMove(mirror, before.digest);
      listener.phase('tagging');
      if (before) listener.note(`Moving the tag ${tag} from ${before.digest}.`);
      await onSide('target', () => registry.putManifest(target, tag, root, to));
      const after = await onSide('target', () => registry.resolve(tagged, to));
      if (after?.digest !== digest)
        throw new MirrorError(
          'digest_mismatch',
          `${formatReference(tagged)} was set but points at ${after?.digest ?? 'nothing'}, not at ${digest}.`,
          { side: 'target' },
        );
      return true;
    });
  }

  return {
    async run(mirror, keychain, listener, stop) {
      // A registry that answers a byte at a time must not hold us for ever after the copy either.
      const reading = level === 'full' ? tools.timeLimit : 0;
      const limit = AbortSignal.timeout((tools.timeLimit + reading + checkLimit) * 1000);
      const signal = AbortSignal.any([stop, limit]);
      listener.phase('planning');
      const from = await enter(tools, keychain, mirror.source, 'source', signal);
      const to = await enter(tools, keychain, mirror.target, 'target', signal);
      const lanes = { source: from.lane, target: to.lane };
      try {
        const arrival = await mirrorOnce(mirror, keychain, from, to, listener);
        for (const lane of Object.values(lanes)) lane.passed();
        return arrival;
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
  ): Promise<Arrival> {
    let tree = await onSide('target', () => held(mirror, to));
    let copied: Copied = { moved: new Set() };
    if (tree) {
      listener.note('The target holds the image already; nothing of it to copy.');
    } else {
      await onSide('target', async () => keychain.prepare?.(mirror.target, to.access.signal));
      copied = await copier.copy(mirror, from, to, listener);
      listener.phase('verifying');
      tree = await onSide('target', () => held(mirror, to));
      if (!tree) throw incomplete(mirror.target, mirror.digest);
    }
    listener.tree(tree);
    for (const layer of tree.foreign)
      listener.note(`Layer ${layer} is foreign: it has URLs of its own and may not be in the registry.`);
    // Before the tag: whoever finds it finds the signatures too.
    const { found, moved } = await bring(mirror, tree, copied.referring, from, to, listener);
    const tagged = await setTag(mirror, tree.root, from.access, to.access, listener);
    const blobs = blobsOf(tree);
    const sizes = [...copied.moved].map((digest) => blobs.get(digest) ?? 0);
    return {
      manifests: tree.manifests.size,
      blobs: blobs.size,
      bytes: sum([...blobs.values()]),
      foreign: tree.foreign,
      referrers: found.map(({ digest, subject, artifactType, tag }) => ({
        ...{ digest, subject, artifactType },
        ...(tag !== undefined && { tag }),
      })),
      level,
      moved: { blobs: sizes.length, bytes: sum(sizes), referrers: moved },
      ...(!tagged && { untagged: true }),
    };
  }
}

function sum(sizes: readonly number[]): number {
  return sizes.reduce((total, size) => total + size, 0);
}

function incomplete({ registry, path }: Repository, digest: Digest): MirrorError {
  return new MirrorError(
    'registry_unavailable',
    `${formatReference({ registry, path, digest })} was pushed, but the registry does not have all of it.`,
    { side: 'target' },
  );
}
