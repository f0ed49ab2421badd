import { isDigest } from '../core/digest.ts';
import { MirrorError } from '../core/errors.ts';
import { isObject, member, parseJson } from '../lib/json.ts';
import type { Doing } from './errors.ts';
import type { Descriptor } from './registry.ts';

/**
 * The entries of an index that lists referrers. What has no valid digest and size is no entry, and left out: others' tools
 * write these lists too.
 * @throws MirrorError `protocol` when it is no index at all.
 */
export function readDescriptors(
  bytes: Uint8Array,
  { host, what }: Pick<Doing, 'host' | 'what'>,
): Descriptor[] {
  const entries = member(parseJson(bytes), 'manifests');
  if (!Array.isArray(entries))
    throw new MirrorError('protocol', `${host} sent something else than an index, when ${what}.`);
  return entries.flatMap((entry) => readDescriptor(entry) ?? []);
}

function readDescriptor(entry: unknown): Descriptor | undefined {
  const { mediaType, digest, size, artifactType, annotations } = (entry ?? {}) as Record<string, unknown>;
  if (typeof digest !== 'string' || !isDigest(digest) || !Number.isSafeInteger(size)) return undefined;
  return {
    mediaType: typeof mediaType === 'string' ? mediaType : '',
    digest,
    size: size as number,
    ...(typeof artifactType === 'string' && artifactType !== '' && { artifactType }),
    ...(isObject(annotations) && { annotations: readAnnotations(annotations) }),
  };
}

/** Annotations are texts (OCI image-spec, annotations.md); what is something else is left out. */
export function readAnnotations(annotations: Record<string, unknown>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(annotations).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

/**
 * The path below `/v2/` of the page behind this one, as a Link header names it (RFC 8288); on the same list only,
 * whatever host it names.
 */
export function nextPage(link: string | undefined, list: string): string | undefined {
  const target = /<([^<>]*)>\s*;[^<]*\brel="?next"?/i.exec(link ?? '')?.[1];
  const base = `https://registry.invalid/v2/${list}`;
  if (target === undefined || !URL.canParse(target, base)) return undefined;
  const { pathname, search } = new URL(target, base);
  // Some write the colon of the digest as %3A.
  return pathname.replace(/%3a/gi, ':') === `/v2/${list}` ? `${list}${search}` : undefined;
}
