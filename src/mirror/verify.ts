import { createHash } from 'node:crypto';
import { algorithmOf, type Digest } from '../core/digest.ts';
import { MirrorError } from '../core/errors.ts';
import type { VerifyLevel } from '../core/mirror.ts';
import { formatRepository, type Repository } from '../core/reference.ts';
import { inParallel } from '../lib/parallel.ts';
import type { Access, Registry } from '../registry/registry.ts';
import type { Tree } from './tree.ts';

const parallel = 6;

/** The blobs that must be there, with their sizes in bytes: all but foreign layers. */
export function blobsOf({ layers, configs, foreign }: Tree): Map<Digest, number> {
  const blobs = new Map([...layers, ...configs]);
  for (const layer of foreign) blobs.delete(layer);
  return blobs;
}

/** A registry does not take bytes for a blob that it thinks it has. */
export const deleteFirst = 'Delete that blob, or the whole image, at the registry; then mirror it again.';

/** What is wrong with a blob: it is not there, has another size, or other bytes. */
export interface Fault {
  digest: Digest;
  fault: 'missing' | 'size' | 'bytes';
}

/** Looks at the blobs of a tree as the level says; its manifests have been read and hashed. */
export async function findFaults(
  registry: Registry,
  repository: Repository,
  tree: Tree,
  access: Access,
  level: VerifyLevel,
): Promise<Fault[]> {
  if (level === 'manifests') return [];
  const faults: Fault[] = [];
  await inParallel([...blobsOf(tree)], parallel, async ([digest, size]) => {
    const found = await registry.lookForBlob(repository, { digest, size }, access);
    if (found !== 'there') faults.push({ digest, fault: found });
    else if (
      level === 'full' &&
      !(await isWhatItSays(await registry.blob(repository, digest, access), digest))
    )
      faults.push({ digest, fault: 'bytes' });
  });
  return faults;
}

async function isWhatItSays(bytes: AsyncIterable<Uint8Array>, digest: Digest): Promise<boolean> {
  const hash = createHash(algorithmOf(digest));
  for await (const chunk of bytes) hash.update(chunk);
  return digest.endsWith(`:${hash.digest('hex')}`);
}

/**
 * Whether all blobs of a tree are there, as far as the level looks.
 * @throws MirrorError `digest_mismatch` for one whose bytes or size are others: copying it again would not mend that.
 */
export async function holdsBlobs(
  registry: Registry,
  repository: Repository,
  tree: Tree,
  access: Access,
  level: VerifyLevel,
): Promise<boolean> {
  const faults = await findFaults(registry, repository, tree, access, level);
  const wrong = faults.find(({ fault }) => fault !== 'missing');
  if (!wrong) return faults.length === 0;
  throw new MirrorError(
    'digest_mismatch',
    `${formatRepository(repository)} has ${wrong.fault === 'size' ? 'something of another size' : 'other bytes'} under the name of the blob ${wrong.digest}.`,
    { retryable: false, remedy: deleteFirst },
  );
}
