import { Readable } from 'node:stream';
import { MirrorError } from '../core/errors.ts';
import { formatRepository } from '../core/reference.ts';
import { type Digest, digestOf, isDigest } from '../core/digest.ts';
import { isObject, member, parseJson } from '../lib/json.ts';
import { readAnnotations } from '../registry/listing.ts';
import type { Manifest } from '../registry/registry.ts';
import { readBlob } from './blob.ts';
import { readManifest } from './tree.ts';
import { onSide } from './side.ts';
import { fallbackTag, type Found, read } from './referrers.ts';
import type { Place } from './place.ts';

/**
 * What cosign keeps under tags that are made of a digest (sigstore/cosign, specs/SIGNATURE_SPEC.md), with the artifact
 * type that it gives the same things where they have a subject.
 */
const kinds = ['sig', 'att', 'sbom'] as const;
const typeOf = (kind: string) => `application/vnd.dev.cosign.artifact.${kind}.v1+json`;

/** What cosign gives them for a config, which tells who does not know them that it is an image. */
const configType = 'application/vnd.oci.image.config.v1+json';

/** Bytes that the config of signatures may have: one line for each. */
const configLimit = 4 * 1024 * 1024;

/** What cosign has attached to a manifest by tags. */
export async function cosignTags(
  { registry, repository, access, side }: Place,
  subject: Digest,
): Promise<(Found & { tag: string })[]> {
  const found = await Promise.all(
    kinds.map(async (kind) => {
      const tag = `${fallbackTag(subject)}.${kind}`;
      const held = await onSide(side, () => registry.resolve({ ...repository, tag }, access));
      return (
        held && {
          ...{ digest: held.digest, mediaType: held.mediaType },
          subject,
          tag,
          artifactType: typeOf(kind),
        }
      );
    }),
  );
  return found.filter((each) => each !== undefined);
}

/** Signatures and attestations are added to what is there; an SBOM is replaced. */
function grows(tag: string): boolean {
  return !tag.endsWith('.sbom');
}

/** Whether a target's tag has all that the source's has. */
export async function holdsAll(
  source: Place,
  target: Place,
  { tag, digest }: Found & { tag: string },
): Promise<boolean> {
  const held = await onSide(target.side, () =>
    target.registry.resolve({ ...target.repository, tag }, target.access),
  );
  if (held?.digest === digest) return true;
  if (!held || !grows(tag)) return false;
  const [own, theirs] = await Promise.all([read(source, digest), read(target, held.digest)]);
  return own !== undefined && theirs !== undefined && added(theirs, own)?.length === 0;
}

function contentOf(value: unknown): { digest: Digest; size: number } | undefined {
  const [digest, size] = [member(value, 'digest'), member(value, 'size')];
  if (typeof digest !== 'string' || !isDigest(digest) || typeof size !== 'number') return undefined;
  return { digest, size };
}

/** The layers of what may be anything: somebody else has put it under that tag. undefined: it has no list of them. */
function layersOf(manifest: Manifest): Record<string, unknown>[] | undefined {
  const { layers } = readManifest(manifest);
  return Array.isArray(layers) ? layers.filter(isObject) : undefined;
}

/**
 * The signatures that one has beside those of the other: one payload may be signed by several keys. undefined: one of
 * them is something else than a list of signatures.
 */
function added(held: Manifest, wanted: Manifest): Record<string, unknown>[] | undefined {
  const nameOf = ({ digest, annotations }: Record<string, unknown>) =>
    JSON.stringify([digest, isObject(annotations) && Object.entries(readAnnotations(annotations)).sort()]);
  const [theirs, own] = [layersOf(held), layersOf(wanted)];
  if (!theirs || !own) return undefined;
  const known = new Set(theirs.map(nameOf));
  return own.filter((layer) => !known.has(nameOf(layer)));
}

/**
 * What a target's tag is to hold when `wanted`, whose blobs are there, comes to it: signatures that were made at the
 * target stay. undefined: it holds all.
 */
export async function joined(
  { registry, repository, access, side }: Place,
  tag: string,
  held: Manifest | undefined,
  wanted: Manifest,
): Promise<Manifest | undefined> {
  if (held?.digest === wanted.digest) return undefined;
  if (!held || !grows(tag)) return wanted;
  const more = added(held, wanted);
  if (!more)
    throw new MirrorError(
      'unsupported_manifest',
      `The tag ${tag} of ${formatRepository(repository)} holds something that is no list of signatures.`,
      { side, remedy: 'Delete that tag at the target, or set `referrers: none`.' },
    );
  if (more.length === 0) return undefined;
  if (added(wanted, held)?.length === 0) return wanted;
  return onSide(side, async () => {
    const body = readManifest(held);
    const { config: described } = body;
    // An image's config names its layers' contents in their order (OCI image-spec, config.md); these are not compressed.
    const content = contentOf(described);
    const read = content && (await readBlob(registry, repository, content, configLimit, access));
    const config = read && parseJson(read);
    const known = member(config, 'rootfs', 'diff_ids');
    const ids = [...(Array.isArray(known) ? (known as unknown[]) : []), ...more.map(({ digest }) => digest)];
    const rootfs = { type: 'layers', diff_ids: ids };
    const bytes = Buffer.from(JSON.stringify({ ...(isObject(config) && config), rootfs }));
    const blob = { digest: digestOf(bytes), size: bytes.length };
    await registry.putBlob(repository, blob, () => Promise.resolve(Readable.from([bytes])), access);
    const manifest = Buffer.from(
      JSON.stringify({
        ...body,
        config: { mediaType: configType, ...(isObject(described) && described), ...blob },
        layers: [...(layersOf(held) ?? []), ...more],
      }),
    );
    return { ...held, digest: digestOf(manifest), size: manifest.length, bytes: manifest };
  });
}
