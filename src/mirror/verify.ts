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

/**
 * Looks at the blobs of a tree as the level says; the manifests have been read and hashed.
 * @returns one that the registry does not have in its size; undefined when all are there.
 * @throws MirrorError `digest_mismatch` for one whose bytes are others (`full`).
 */
export async function missingBlob(
  registry: Registry,
  repository: Repository,
  tree: Tree,
  access: Access,
  level: VerifyLevel,
): Promise<Digest | undefined> {
  if (level === 'manifests') return undefined;
  let missing: Digest | undefined;
  await inParallel([...blobsOf(tree)], parallel, async ([digest, size]) => {
    if (missing !== undefined) return;
    if ((await registry.blobSize(repository, digest, access)) !== size) missing = digest;
    else if (level === 'full') await hashBlob(registry, repository, digest, access);
  });
  return missing;
}

async function hashBlob(
  registry: Registry,
  repository: Repository,
  digest: Digest,
  access: Access,
): Promise<void> {
  const hash = createHash(algorithmOf(digest));
  for await (const chunk of await registry.blob(repository, digest, access)) hash.update(chunk);
  if (digest.endsWith(`:${hash.digest('hex')}`)) return;
  throw new MirrorError(
    'digest_mismatch',
    `${formatRepository(repository)} has other bytes under the name of the blob ${digest}.`,
    {
      // A registry does not take bytes for a blob that it thinks it has.
      retryable: false,
      remedy: 'Delete that blob, or the whole image, at the registry; then mirror it again.',
    },
  );
}
