import { type Digest, isDigest } from '../core/digest.ts';
import { MirrorError } from '../core/errors.ts';
import { formatRepository, type Repository } from '../core/reference.ts';
import { formatPlatform, isPlatform, type Platform } from '../core/selection.ts';
import { isObject, parseJson } from '../lib/json.ts';
import { inParallel } from '../lib/parallel.ts';
import type { Access, Manifest, Registry } from '../registry/registry.ts';
import { readBlob } from './blob.ts';

/** Everything wanted under one digest: its manifests, and the blobs that they name with their sizes in bytes. */
export interface Tree {
  root: Manifest;
  /** What each index is made of comes behind it. */
  manifests: Map<Digest, Manifest>;
  /** What is wanted of each index. */
  children: Map<Digest, Digest[]>;
  layers: Map<Digest, number>;
  configs: Map<Digest, number>;
  /** Layers that live elsewhere by design (OCI image-spec, "Non-Distributable Layers"). */
  foreign: Digest[];
  /** An index is inside an index. */
  nested: boolean;
  /** There is more under the digest than is wanted. */
  partial: boolean;
}

/** A real index has tens of entries; more than this is an attack or a fault. */
const entryLimit = 2000;
/** Bytes of all manifests under one digest, which are kept in memory; a real one has some thousands. */
const bytesLimit = 16 * 1024 * 1024;
/** Indexes inside each other. */
const depthLimit = 5;
/** A real config has a few kilobytes. */
const configLimit = 4 * 1024 * 1024;
const parallel = 6;
const imageConfigs = /^application\/vnd\.(?:oci\.image\.config|docker\.container\.image)\.v1\+json$/;

interface Content {
  digest: Digest;
  size: number;
  mediaType: unknown;
  urls: unknown;
  platform: Platform | undefined;
  /** The manifest that BuildKit's attestation is of (docs.docker.com, "Image attestation storage"). */
  attests: unknown;
}

/**
 * Reads and hashes every manifest under a digest, or those of the wanted platforms with their attestations.
 * @param platforms canonical; absent: all. An entry without a platform is wanted always.
 * @returns undefined when the digest itself is not there.
 * @throws MirrorError `manifest_unknown` when a child is missing, `platform_unknown` when there is none for a
 * wanted platform, `unsupported_manifest` for a manifest that is neither image nor index.
 */
export async function readTree(
  registry: Registry,
  repository: Repository,
  digest: Digest,
  access: Access,
  platforms?: readonly string[],
): Promise<Tree | undefined> {
  const root = await registry.manifest({ ...repository, digest }, access);
  if (!root) return undefined;
  const name = `${formatRepository(repository)}@${digest}`;
  const tree: Tree = {
    ...{ root, manifests: new Map(), children: new Map(), layers: new Map(), configs: new Map() },
    ...{ foreign: [], nested: false, partial: false },
  };
  const seen = new Set<string>();
  const tooLarge = () =>
    new MirrorError('unsupported_manifest', `${name} is an index too deep or too large.`);
  let read = root.size;
  let level = [root];
  for (let depth = 0; level.length > 0; depth++) {
    const wanted = new Set<Digest>();
    for (const manifest of level) {
      tree.manifests.set(manifest.digest, manifest);
      const entries = addManifest(tree, manifest);
      if (!entries) continue;
      if (depth > 0) tree.nested = true;
      const chosen = platforms ? choose(entries, platforms, seen) : entries;
      if (chosen.length < entries.length) tree.partial = true;
      tree.children.set(manifest.digest, [...new Set(chosen.map((entry) => entry.digest))]);
      for (const entry of chosen) if (!tree.manifests.has(entry.digest)) wanted.add(entry.digest);
    }
    if (depth === depthLimit || tree.manifests.size + wanted.size > entryLimit) throw tooLarge();
    const next = new Map<Digest, Manifest>();
    await inParallel([...wanted], parallel, async (child) => {
      const manifest = await registry.manifest({ ...repository, digest: child }, access);
      if (!manifest)
        throw new MirrorError(
          'manifest_unknown',
          `${name} is incomplete: it names ${child}, which is not there.`,
        );
      read += manifest.size;
      if (read > bytesLimit) throw tooLarge();
      next.set(child, manifest);
    });
    level = [...wanted].flatMap((child) => next.get(child) ?? []);
  }
  // Each is a number that all places have room for; their sum must be one too.
  if (!Number.isSafeInteger(sizeOf(tree)))
    throw new MirrorError('unsupported_manifest', `${name} says that it has more bytes than there are.`);
  if (platforms) {
    const isIndex = tree.children.has(digest);
    if (!isIndex) await noteOwnPlatform(registry, repository, root, access, seen);
    refuseUnknown(name, platforms, seen, isIndex);
  }
  return tree;
}

/** Compressed bytes of all its blobs, each once, foreign layers too. */
export function sizeOf({ layers, configs }: Pick<Tree, 'layers' | 'configs'>): number {
  return [...new Map([...layers, ...configs]).values()].reduce((sum, size) => sum + size, 0);
}

/** What was at the source when it was decided, and is not now. */
export function gone(source: Repository, digest: Digest): MirrorError {
  return new MirrorError('manifest_unknown', `${formatRepository(source)}@${digest} is not there any more.`, {
    side: 'source',
  });
}

/** The manifests of a tree so that each comes behind what it names. */
export function fromTheLeaves({ root, manifests, children }: Tree): Manifest[] {
  const ordered = new Map<Digest, Manifest>();
  const visit = (digest: Digest) => {
    if (ordered.has(digest)) return;
    for (const child of children.get(digest) ?? []) visit(child);
    const manifest = manifests.get(digest);
    if (manifest) ordered.set(digest, manifest);
  };
  visit(root.digest);
  return [...ordered.values()];
}

/** Notes the blobs of a manifest; returns the entries of an index. */
function addManifest(tree: Tree, manifest: Manifest): Content[] | undefined {
  const body = readManifest(manifest);
  if (Array.isArray(body['manifests'])) return contents(body['manifests'], manifest);
  if (!Array.isArray(body['layers']) || typeof body['config'] !== 'object')
    throw new MirrorError(
      'unsupported_manifest',
      `${manifest.digest} is neither an image manifest nor an index (${manifest.mediaType || 'no media type'}).`,
    );
  for (const { digest, size } of contents([body['config']], manifest)) tree.configs.set(digest, size);
  for (const { digest, size, urls } of contents(body['layers'], manifest)) {
    tree.layers.set(digest, size);
    if (Array.isArray(urls) && urls.length > 0) tree.foreign.push(digest);
  }
  return undefined;
}

/** The entries for these platforms; what there is, is added to `seen`. */
function choose(entries: Content[], platforms: readonly string[], seen: Set<string>): Content[] {
  const matches = new Set<Digest>();
  for (const { digest, platform } of entries) {
    if (!platform || isUnknown(platform)) continue;
    seen.add(formatPlatform(platform));
    if (platforms.some((wanted) => isPlatform(wanted, platform))) matches.add(digest);
  }
  return entries.filter(
    ({ digest, platform, attests }) => !platform || matches.has(digest) || matches.has(attests as Digest),
  );
}

/** BuildKit writes `unknown/unknown` where an entry is no image. */
function isUnknown({ os, architecture }: Platform): boolean {
  return os === 'unknown' || architecture === 'unknown';
}

/** An image without an index names its platform in its config (OCI image-spec, config.md). */
async function noteOwnPlatform(
  registry: Registry,
  repository: Repository,
  root: Manifest,
  access: Access,
  seen: Set<string>,
): Promise<void> {
  const config = readManifest(root)['config'] as { mediaType?: unknown };
  const [content] = contents([config], root);
  // What is no image, such as a chart, has no platform.
  if (!content || !imageConfigs.test(String(config.mediaType))) return;
  const bytes = await readBlob(registry, repository, content, configLimit, access);
  const platform = bytes && readPlatform(parseJson(bytes));
  // Signatures have the config of an image, with nothing in it.
  if (platform?.os && platform.architecture) seen.add(formatPlatform(platform));
}

/** An index has all that is wanted; an image without one has one platform, which must be among them. */
function refuseUnknown(
  name: string,
  platforms: readonly string[],
  seen: Set<string>,
  isIndex: boolean,
): void {
  const found = [...seen].map((each) => {
    const [os = '', architecture = '', variant] = each.split('/');
    return { os, architecture, variant };
  });
  const missing = platforms.filter((wanted) => !found.some((platform) => isPlatform(wanted, platform)));
  // Where nothing names a platform, all there is was taken.
  if (missing.length === 0 || seen.size === 0) return;
  if (!isIndex && missing.length < platforms.length) return;
  throw new MirrorError(
    'platform_unknown',
    `${name} has no ${missing.join(', ')}; it has ${[...seen]
      .sort()
      .slice(0, 30)
      .map((each) => each.slice(0, 100))
      .join(', ')}.`,
  );
}

/** @throws MirrorError `unsupported_manifest` unless it is a JSON object. */
export function readManifest(manifest: Manifest): Record<string, unknown> {
  const body = parseJson(manifest.bytes);
  if (isObject(body)) return body;
  throw new MirrorError('unsupported_manifest', `The manifest ${manifest.digest} is no JSON object.`);
}

function contents(list: readonly unknown[], manifest: Manifest): Content[] {
  if (list.length > entryLimit)
    throw new MirrorError('unsupported_manifest', `${manifest.digest} has more than ${entryLimit} entries.`);
  return list.map((entry) => {
    const { digest, size, urls, mediaType, platform, annotations } = (entry ?? {}) as Record<string, unknown>;
    if (typeof digest !== 'string' || !isDigest(digest) || !isSize(size))
      throw new MirrorError(
        'unsupported_manifest',
        `${manifest.digest} has an entry without a valid digest and size.`,
      );
    const attests = (annotations as Record<string, unknown> | undefined)?.['vnd.docker.reference.digest'];
    return { digest, size, urls, mediaType, platform: readPlatform(platform), attests };
  });
}

/** JSON's numbers may also be fractions, or more than any database or header has room for. */
function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function readPlatform(value: unknown): Platform | undefined {
  const { os, architecture, variant } = (value ?? {}) as Record<string, unknown>;
  if (typeof os !== 'string' || typeof architecture !== 'string') return undefined;
  return { os, architecture, ...(typeof variant === 'string' && { variant }) };
}
