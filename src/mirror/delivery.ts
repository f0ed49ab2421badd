import type { Digest } from '../core/digest.ts';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import { formatReference, formatRepository } from '../core/reference.ts';
import type { KeyedMutex } from '../lib/mutex.ts';
import { inParallel } from '../lib/parallel.ts';
import { readDescriptors } from '../registry/listing.ts';
import type { Descriptor, Manifest } from '../registry/registry.ts';
import { digestOf } from '../core/digest.ts';
import { joined } from './cosign.ts';
import { descriptorOf, fallbackTag, type Found } from './referrers.ts';
import type { Place } from './place.ts';
import { onSide } from './side.ts';
import { type Change, changeTags } from './tags.ts';
import { fromTheLeaves, readTree } from './tree.ts';
import { blobsOf } from './verify.ts';

const indexType = 'application/vnd.oci.image.index.v1+json';
const parallel = 4;

/**
 * Copies referrers, byte for byte and without Skopeo, which knows images only: a signature is a few kilobytes, and a
 * process costs more than it.
 * @param missing what {@link missingReferrers} found.
 */
export async function bringReferrers(
  source: Place,
  target: Place,
  missing: readonly Found[],
  locks: KeyedMutex,
): Promise<void> {
  const changes: Change[] = [];
  const unlisted = new Map<Digest, Descriptor[]>();
  await inParallel(missing, parallel, async ({ digest, subject, tag }) => {
    const root = await copyTree(source, target, digest, locks);
    if (tag !== undefined) {
      changes.push({ tag, next: (held) => joined(target, tag, held, root) });
      return;
    }
    if (!(await push(target, root)))
      unlisted.set(subject, [...(unlisted.get(subject) ?? []), descriptorOf(root)]);
  });
  for (const [subject, entries] of unlisted) changes.push(listing(target, subject, entries));
  await changeTags(target, changes, locks);
}

/** Pushes an artifact with a subject and has it listed. Its blobs must be there. */
export async function attach(
  target: Place,
  subject: Digest,
  artifact: Manifest,
  locks: KeyedMutex,
): Promise<void> {
  if (!(await push(target, artifact)))
    await changeTags(target, [listing(target, subject, [descriptorOf(artifact)])], locks);
}

/** All but the last manifest, which is returned. */
async function copyTree(source: Place, target: Place, digest: Digest, locks: KeyedMutex): Promise<Manifest> {
  const tree = await onSide(source.side, () =>
    readTree(source.registry, source.repository, digest, source.access),
  );
  if (!tree)
    throw new MirrorError(
      'manifest_unknown',
      `${formatRepository(source.repository)}@${digest} refers to the image and has gone in the meantime.`,
      { side: source.side, retryable: true },
    );
  await inParallel([...blobsOf(tree)], parallel, ([digest, size]) =>
    pushBlob(target, { digest, size }, () => bytesOf(source, digest), locks).catch((caught: unknown) => {
      const error = asMirrorError(caught);
      // What is sent is what the source gave.
      throw error.code === 'digest_mismatch' ? error.at(source.side) : error;
    }),
  );
  for (const manifest of fromTheLeaves(tree)) if (manifest !== tree.root) await push(target, manifest);
  return tree.root;
}

/**
 * Pushes a blob, unless the target has it. Many artifacts have the same empty config, and docker-registry stumbles over two
 * uploads of one blob at once.
 */
export function pushBlob(
  { registry, repository, access, side }: Place,
  blob: Pick<Descriptor, 'digest' | 'size'>,
  open: () => AsyncIterable<Uint8Array>,
  locks: KeyedMutex,
): Promise<void> {
  return locks.run(formatReference({ ...repository, digest: blob.digest }), () =>
    onSide(side, () => registry.putBlob(repository, blob, () => Promise.resolve(open()), access)),
  );
}

/** The failures of a stream are its own side's, whoever reads it. */
async function* bytesOf(
  { registry, repository, access, side }: Place,
  blob: Digest,
): AsyncGenerator<Uint8Array> {
  try {
    yield* await registry.blob(repository, blob, access);
  } catch (error) {
    throw asMirrorError(error).at(side);
  }
}

/** @returns whether the registry lists it by itself. */
async function push({ registry, repository, access, side }: Place, manifest: Manifest): Promise<boolean> {
  try {
    const { listed } = await onSide(side, () =>
      registry.putManifest(repository, manifest.digest, manifest, access),
    );
    return listed;
  } catch (caught) {
    const error = asMirrorError(caught);
    if (error.code !== 'push_refused') throw error;
    throw error.with({
      message: `${error.message} It refers to the image, as a signature does.`,
      remedy: 'Set `referrers: none`, or name the artifact types that this registry takes.',
    });
  }
}

/** The index of a subject's referrers with these in it; what else is in it stays, unless it is gone. */
function listing(target: Place, subject: Digest, entries: readonly Descriptor[]): Change {
  const { registry, repository, access, side } = target;
  const tag = fallbackTag(subject);
  return {
    tag,
    async next(held) {
      const doing = { host: repository.registry, what: `reading ${formatRepository(repository)}:${tag}` };
      const known = held ? await onSide(side, async () => readDescriptors(held.bytes, doing)) : [];
      const names = new Set(known.map(({ digest }) => digest));
      const news = entries.filter(({ digest }) => !names.has(digest));
      if (news.length === 0) return undefined;
      // Registries refuse an index that names what they do not have.
      const there: Descriptor[] = [];
      await inParallel(known, parallel, async (entry, n) => {
        const { digest } = entry;
        if (await onSide(side, () => registry.resolve({ ...repository, digest }, access))) there[n] = entry;
      });
      const manifests = [...there.flatMap((entry) => entry), ...news];
      const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests }));
      return { mediaType: indexType, digest: digestOf(bytes), size: bytes.length, bytes };
    },
  };
}
