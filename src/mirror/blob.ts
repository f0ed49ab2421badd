import { type Digest, digestOf, isDigest } from '../core/digest.ts';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import { formatRepository, type Repository } from '../core/reference.ts';
import type { Access, Registry } from '../registry/registry.ts';

/**
 * Reads a small blob whole, such as a config or a signed payload, and compares it with its descriptor.
 * @returns undefined when it is said to have more than `limit` bytes, or its digest is none: such a one is not even asked for.
 * @throws MirrorError `blob_unknown`; `digest_mismatch` when its bytes, or their number, are others.
 */
export async function readBlob(
  registry: Registry,
  repository: Repository,
  { digest, size }: { digest: Digest; size: number },
  limit: number,
  access: Access,
): Promise<Buffer | undefined> {
  // It goes into a path.
  if (!isDigest(digest) || !(size <= limit)) return undefined;
  const name = `the blob ${digest} of ${formatRepository(repository)}`;
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of await registry.blob(repository, digest, access)) {
    length += chunk.length;
    if (length > size) break;
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  if (length !== size || digestOf(bytes, digest) !== digest)
    throw new MirrorError('digest_mismatch', `The registry sent something else as ${name}.`);
  return bytes;
}

/** What is incomplete, or something else than it says, counts for nothing: it must not hide a good one beside it. */
export async function unlessBroken<T>(read: () => Promise<T | undefined>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    const { code } = asMirrorError(error);
    if (['blob_unknown', 'digest_mismatch', 'unsupported_manifest', 'protocol'].includes(code))
      return undefined;
    throw error;
  }
}
