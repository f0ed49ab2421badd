import type { Digest } from '../core/digest.ts';
import { MirrorError } from '../core/errors.ts';
import type { Referrer, VerifyLevel } from '../core/mirror.ts';
import { formatReference } from '../core/reference.ts';
import type { Referrers } from '../core/selection.ts';
import { isObject } from '../lib/json.ts';
import { inParallel } from '../lib/parallel.ts';
import { readAnnotations, readDescriptors } from '../registry/listing.ts';
import type { Descriptor, Manifest } from '../registry/registry.ts';
import { cosignTags, holdsAll } from './cosign.ts';
import type { Place } from './place.ts';
import { onSide } from './side.ts';
import { readManifest, readTree } from './tree.ts';
import { holdsBlobs } from './verify.ts';

/** A referrer with what its place says of it. */
export interface Found extends Referrer {
  mediaType: string;
}

/** Things that may refer to one image, and referrers of referrers: more is an attack or a fault. */
const countLimit = 1000;
const depthLimit = 8;
/** Manifests that are asked about: an image's, its referrers', and what those are made of. */
const subjectLimit = 5000;
/** What may be an artifact type (RFC 6838, and whatever else is visible); others are kept as if nothing told. */
const artifactTypes = /^[!-~]{1,255}$/;
const parallel = 8;
const emptyType = 'application/vnd.oci.empty.v1+json';

/**
 * The tag under which an index of a manifest's referrers is kept where the registry keeps no list (OCI
 * distribution-spec 1.1, "Referrers Tag Schema").
 */
export function fallbackTag(digest: Digest): string {
  const [algorithm = '', hex = ''] = digest.split(':');
  return `${algorithm.slice(0, 32)}-${hex.slice(0, 64)}`;
}

/** What refers to one manifest, by the registry's own list, else by the index under the fallback tag. */
export async function referrersOf(
  { registry, repository, access, side }: Place,
  subject: Digest,
): Promise<{ entries: Descriptor[]; listed: boolean }> {
  return onSide(side, async () => {
    const listed = await registry.referrers(repository, subject, access);
    if (listed) return { entries: listed, listed: true };
    const tagged = { ...repository, tag: fallbackTag(subject) };
    // Mostly there is none, and a GET of a manifest may cost a pull.
    const held = await registry.resolve(tagged, access);
    // What has that name and is no index is no list (OCI distribution-spec, "Listing Referrers").
    const index = held && isIndex(held) && (await registry.manifest(tagged, access));
    if (!index) return { entries: [], listed: false };
    const doing = { host: repository.registry, what: `reading ${formatReference(tagged)}` };
    return { entries: readDescriptors(index.bytes, doing), listed: false };
  });
}

/**
 * Everything that refers to these manifests, and to what does: by the registry's list or the fallback tag, and by
 * cosign's tags.
 * @throws MirrorError `unsupported_manifest` when it is without measure.
 */
export async function listReferrers(
  place: Place,
  subjects: Iterable<Digest>,
  wanted: Referrers,
): Promise<Found[]> {
  if (wanted === 'none') return [];
  const found: Found[] = [];
  const visited = new Set<Digest>();
  let count = 0;
  let level = [...subjects];
  for (let depth = 0; level.length > 0; depth++) {
    const asked = [...new Set(level)].filter((subject) => !visited.has(subject));
    for (const subject of asked) visited.add(subject);
    if (visited.size > subjectLimit) throw tooMany(place);
    const answers: Found[][] = [];
    await inParallel(asked, parallel, async (subject, n) => {
      const [listed, tagged] = await Promise.all([
        untagged(place, subject, wanted),
        cosignTags(place, subject),
      ]);
      const all = [...listed, ...tagged.filter(({ artifactType }) => isWanted(artifactType, wanted))];
      count += all.length;
      if (count > countLimit) throw tooMany(place);
      answers[n] = all;
    });
    const news = answers.flat();
    found.push(...news);
    if (depth === depthLimit && news.length > 0) throw tooMany(place);
    const below = new Set<Digest>();
    await inParallel(news, parallel, async (each) => {
      for (const digest of await manifestsOf(place, each)) below.add(digest);
      if (visited.size + below.size > subjectLimit) throw tooMany(place);
    });
    level = [...below];
  }
  return found;
}

function tooMany({ side }: Place): MirrorError {
  return new MirrorError(
    'unsupported_manifest',
    `More refers to this image than can be right: over ${countLimit}, or ${depthLimit} deep.`,
    { side, remedy: 'Name the artifact types that are wanted in `referrers`, or set it to none.' },
  );
}

async function untagged(place: Place, subject: Digest, wanted: Referrers): Promise<Found[]> {
  const { entries } = await referrersOf(place, subject);
  const found: Found[] = [];
  let reads = 0;
  for (const { digest, mediaType, artifactType } of entries) {
    // Old lists leave the type out, and cosign 3 writes that of the empty config into them; the manifest tells.
    const told = artifactType === undefined || artifactType === emptyType ? undefined : artifactType;
    const asks = told === undefined;
    if (found.length > countLimit || (asks && ++reads > countLimit)) throw tooMany(place);
    const manifest = asks ? await read(place, digest) : undefined;
    const says = told ?? (manifest && descriptorOf(manifest).artifactType) ?? '';
    const type = artifactTypes.test(says) ? says : '';
    if (isWanted(type, wanted)) found.push({ digest, subject, mediaType, artifactType: type });
  }
  return found;
}

function isIndex({ mediaType }: Pick<Descriptor, 'mediaType'>): boolean {
  return /\.index\.|\.list\./.test(mediaType);
}

/** Drafts of OCI 1.1, and ORAS before it, had manifests of their own for artifacts, which no client reads any more. */
function isOutdated({ mediaType }: Pick<Descriptor, 'mediaType'>): boolean {
  return /\.artifact\.manifest\./.test(mediaType);
}

function isWanted(artifactType: string, wanted: Referrers): boolean {
  return typeof wanted === 'string' ? wanted === 'all' : wanted.includes(artifactType);
}

/** A referrer's own manifests, to which others may refer: itself, and what an index is made of. */
async function manifestsOf(
  { registry, repository, access, side }: Place,
  { digest, mediaType }: Found,
): Promise<Digest[]> {
  if (!isIndex({ mediaType })) return [digest];
  const tree = await onSide(side, () => readTree(registry, repository, digest, access));
  return [...(tree?.manifests.keys() ?? [digest])];
}

/** What a list says of a referrer, made of its manifest (OCI image-spec, "artifactType"; distribution-spec, "Pushing Manifests with Subject"). */
export function descriptorOf(manifest: Manifest): Descriptor {
  const { digest, mediaType, size } = manifest;
  const body = readManifest(manifest);
  const config = body['config'] as { mediaType?: unknown } | undefined;
  const type = body['artifactType'] || config?.mediaType;
  return {
    ...{ mediaType, digest, size },
    ...(typeof type === 'string' && { artifactType: type }),
    ...(isObject(body['annotations']) && { annotations: readAnnotations(body['annotations']) }),
  };
}

function subjectOf(manifest: Manifest): unknown {
  return (readManifest(manifest)['subject'] as { digest?: unknown } | undefined)?.digest;
}

function read({ registry, repository, access, side }: Place, digest: Digest): Promise<Manifest | undefined> {
  return onSide(side, () => registry.manifest({ ...repository, digest }, access));
}

/**
 * Those that the target does not have as a whole, or does not list. What the source lists and does not have, what says
 * itself that it refers to something else, or has a manifest of an outdated kind can't come and is left out.
 * @param level how deep the target is looked at.
 * @param leftOut hears of those.
 * @throws MirrorError `digest_mismatch` for what the target has with other bytes.
 */
export async function missingReferrers(
  source: Place,
  target: Place,
  found: readonly Found[],
  level: VerifyLevel,
  leftOut: (referrer: Found, why: string) => void = () => undefined,
): Promise<Found[]> {
  const subjects = [...new Set(found.flatMap(({ subject, tag }) => (tag === undefined ? [subject] : [])))];
  const named = new Set(found.map(({ digest }) => digest));
  const at = new Map<Digest, Set<Digest>>();
  await inParallel(subjects, parallel, async (subject) => {
    const { entries } = await referrersOf(target, subject);
    // Only what is looked for: a target may list what it likes.
    at.set(subject, new Set(entries.flatMap(({ digest }) => (named.has(digest) ? digest : []))));
  });
  const missing: Found[] = [];
  await inParallel(found, parallel, async (referrer) => {
    const { digest, subject, tag } = referrer;
    if (isOutdated(referrer))
      return leftOut(referrer, `its manifest is of an outdated kind, ${referrer.mediaType}`);
    if (tag !== undefined) {
      const isThere = await holdsAll(source, target, { ...referrer, tag });
      if (!isThere || !(await isWhole(source, target, referrer, level))) missing.push(referrer);
      return;
    }
    // What is listed may have been deleted since, in part or as a whole.
    if (at.get(subject)?.has(digest) && (await isWhole(source, target, referrer, level))) return;
    const own = await read(source, digest);
    if (!own) return leftOut(referrer, 'it is listed, but not there');
    if (subjectOf(own) !== subject)
      return leftOut(referrer, 'it says itself that it refers to something else');
    missing.push(referrer);
  });
  return missing;
}

/** Whether all that a referrer is made of is at the target, as deep as the level looks. */
async function isWhole(
  source: Place,
  target: Place,
  { digest, tag }: Found,
  level: VerifyLevel,
): Promise<boolean> {
  const treeAt = ({ registry, repository, access, side }: Place) =>
    onSide(side, () => readTree(registry, repository, digest, access));
  try {
    // Signatures that were joined with others at the target are in another manifest there.
    const tree = (await treeAt(target)) ?? (tag === undefined ? undefined : await treeAt(source));
    const { registry, repository, access, side } = target;
    return (
      tree !== undefined && (await onSide(side, () => holdsBlobs(registry, repository, tree, access, level)))
    );
  } catch (error) {
    if (error instanceof MirrorError && error.code === 'manifest_unknown') return false;
    throw error;
  }
}
