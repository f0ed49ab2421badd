import type { Digest } from '../core/digest.ts';
import { isDigest } from '../core/digest.ts';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import { formatRepository, type Repository } from '../core/reference.ts';
import { inParallel } from '../lib/parallel.ts';
import type { Access, Manifest, Registry } from '../registry/registry.ts';

/** Everything under one digest: its manifests, and the blobs that they name with their sizes in bytes. */
export interface Tree {
  root: Manifest;
  manifests: Map<Digest, Manifest>;
  layers: Map<Digest, number>;
  configs: Map<Digest, number>;
  /** Layers that live elsewhere by design (OCI image-spec, "Non-Distributable Layers"). */
  foreign: Digest[];
}

/** A real index has tens of entries; more than this is an attack or a fault. */
const entryLimit = 2000;
const parallel = 6;

interface Content {
  digest: Digest;
  size: number;
  urls?: unknown;
}

/**
 * Reads and hashes every manifest under a digest.
 * @returns undefined when the digest itself is not there.
 * @throws MirrorError `manifest_unknown` when a child is missing, `unsupported_manifest` for an index in an
 * index (Skopeo refuses those) or a manifest that is neither.
 */
export async function readTree(
  registry: Registry,
  repository: Repository,
  digest: Digest,
  access: Access,
): Promise<Tree | undefined> {
  const root = await registry.manifest({ ...repository, digest }, access);
  if (!root) return undefined;
  const tree: Tree = { root, manifests: new Map(), layers: new Map(), configs: new Map(), foreign: [] };
  tree.manifests.set(digest, root);
  const children = addManifest(tree, root);
  const wanted = [...new Set(children.map((child) => child.digest))];
  await inParallel(wanted, parallel, async (child) => {
    const manifest = await registry.manifest({ ...repository, digest: child }, access);
    if (!manifest)
      throw new MirrorError(
        'manifest_unknown',
        `${formatRepository(repository)}@${digest} is incomplete: it names ${child}, which is not there.`,
      );
    if (addManifest(tree, manifest).length > 0)
      throw new MirrorError(
        'unsupported_manifest',
        `${formatRepository(repository)}@${digest} has an index inside an index, which Skopeo does not copy.`,
      );
    tree.manifests.set(child, manifest);
  });
  return tree;
}

/** A blob that the registry does not have as the manifests say; undefined when all are there. Foreign layers need not be. */
export async function missingBlob(
  registry: Registry,
  repository: Repository,
  { layers, configs, foreign }: Tree,
  access: Access,
): Promise<Digest | undefined> {
  const blobs = new Map([...layers, ...configs]);
  for (const layer of foreign) blobs.delete(layer);
  let missing: Digest | undefined;
  await inParallel([...blobs], parallel, async ([digest, size]) => {
    if (missing === undefined && (await registry.blobSize(repository, digest, access)) !== size)
      missing = digest;
  });
  return missing;
}

/**
 * Whether every manifest and every blob under a digest is there. What we can't read, an index inside an index, counts as whole:
 * its digest is there, and more can't be known.
 * @throws MirrorError, on the target's side, when the registry does not tell.
 */
export async function isWhole(
  registry: Registry,
  repository: Repository,
  digest: Digest,
  access: Access,
): Promise<boolean> {
  try {
    const tree = await readTree(registry, repository, digest, access);
    return tree !== undefined && (await missingBlob(registry, repository, tree, access)) === undefined;
  } catch (caught) {
    const error = asMirrorError(caught);
    if (error.code === 'unsupported_manifest') return true;
    if (error.code === 'manifest_unknown') return false;
    throw error.at('target');
  }
}

/** Notes the blobs of a manifest; returns the entries of an index. */
function addManifest(tree: Tree, manifest: Manifest): Content[] {
  const body = parse(manifest);
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
  return [];
}

function parse(manifest: Manifest): Record<string, unknown> {
  try {
    const body: unknown = JSON.parse(Buffer.from(manifest.bytes).toString('utf8'));
    if (typeof body === 'object' && body !== null) return body as Record<string, unknown>;
  } catch {
    // Falls through: neither case is a manifest.
  }
  throw new MirrorError('unsupported_manifest', `The manifest ${manifest.digest} is no JSON object.`);
}

function contents(list: readonly unknown[], manifest: Manifest): Content[] {
  if (list.length > entryLimit)
    throw new MirrorError('unsupported_manifest', `${manifest.digest} has more than ${entryLimit} entries.`);
  return list.map((entry) => {
    const { digest, size, urls } = (entry ?? {}) as Record<string, unknown>;
    if (typeof digest !== 'string' || !isDigest(digest) || typeof size !== 'number' || size < 0)
      throw new MirrorError(
        'unsupported_manifest',
        `${manifest.digest} has an entry without a valid digest and size.`,
      );
    return { digest, size, urls };
  });
}
