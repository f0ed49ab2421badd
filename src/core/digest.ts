import { hash } from 'node:crypto';

/** Algorithms that the OCI image spec registers, with the length of their hex form. */
const algorithms: Record<string, number> = { sha256: 64, sha512: 128 };

/** `algorithm:hex`, checked by {@link isDigest}. */
export type Digest = `${string}:${string}`;

/**
 * Tells whether a string is a digest that Dray can verify.
 * Rule: OCI image-spec, descriptor.md, "Digests" (lower-case hex of the algorithm's exact length).
 */
export function isDigest(value: string): value is Digest {
  const colon = value.indexOf(':');
  const hex = value.slice(colon + 1);
  return colon > 0 && algorithms[value.slice(0, colon)] === hex.length && /^[a-f0-9]+$/.test(hex);
}

/** The name of its algorithm, as Node knows it. */
export function algorithmOf(digest: Digest): string {
  return digest.slice(0, digest.indexOf(':'));
}

/** Hashes bytes with the algorithm of `like` (default sha256) and returns their digest. */
export function digestOf(bytes: Uint8Array, like: Digest = 'sha256:'): Digest {
  const algorithm = algorithmOf(like);
  return `${algorithm}:${hash(algorithm, bytes, 'hex')}`;
}
