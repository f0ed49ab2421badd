import type { Digest } from '../core/digest.ts';
import { MirrorError } from '../core/errors.ts';
import { formatReference, type Repository } from '../core/reference.ts';
import { formatSelection, type Selection } from '../core/selection.ts';
import { isObject, member, parseJson } from '../lib/json.ts';
import { createMemo } from '../lib/memo.ts';
import { inParallel } from '../lib/parallel.ts';
import type { Access, Manifest, Registry } from '../registry/registry.ts';
import { readBlob } from './blob.ts';
import { readTree, sizeOf } from './tree.ts';

/** What can be known of an image before it is copied. Every method throws MirrorError without a side. */
export interface Measure {
  /** Compressed bytes of what is wanted, each blob once. */
  size(repository: Repository, digest: Digest, selection: Selection, access: Access): Promise<number>;
  /** When the youngest of what is wanted was made, by its own word; undefined when one of them does not say. */
  created(
    repository: Repository,
    digest: Digest,
    selection: Selection,
    access: Access,
  ): Promise<Date | undefined>;
}

/** One image under the digest: where it may say when it was made. */
interface Image {
  config?: { digest: Digest; size: number };
  /** What its manifest, or else the index, is annotated with. */
  annotated?: string;
}

interface Facts {
  size: number;
  images: Image[];
}

/** Digests of which something is known are kept; what is known of one never changes. */
const cacheLimit = 5000;
/** Bytes of a config; the largest seen have some 200,000. */
const configLimit = 4 * 1024 * 1024;
const parallel = 6;

/** Reproducible builds say 1970, and Go's zero time is year 1: no image is older than the first containers of Docker. */
const firstImage = Date.UTC(2013, 0);

/** Nor is any from so far ahead that adding days to it leads out of all calendars. */
const lastImage = Date.UTC(9000, 0);

const createdAnnotation = 'org.opencontainers.image.created';

export function createMeasure(registry: Registry): Measure {
  const facts = createMemo<Facts>(cacheLimit);
  const dates = createMemo<Date | undefined>(cacheLimit);
  const keyOf = (digest: Digest, selection: Selection) => `${digest}\n${formatSelection(selection)}`;

  const read = (repository: Repository, digest: Digest, selection: Selection, access: Access) =>
    facts.get(keyOf(digest, selection), Infinity, async () => {
      const tree = await readTree(registry, repository, digest, access, selection.platforms);
      if (!tree)
        throw new MirrorError(
          'manifest_unknown',
          `${formatReference({ ...repository, digest })} does not exist at its registry.`,
        );
      return { size: sizeOf(tree), images: imagesOf(tree.root, tree.manifests) };
    });

  async function dateOf(
    repository: Repository,
    { config, annotated }: Image,
    access: Access,
  ): Promise<Date | undefined> {
    const bytes = config && (await readBlob(registry, repository, config, configLimit, access));
    return asDate(bytes && member(parseJson(bytes), 'created')) ?? asDate(annotated);
  }

  return {
    size: async (...of) => (await read(...of)).size,
    created: (repository, digest, selection, access) =>
      dates.get(keyOf(digest, selection), Infinity, async () => {
        const { images } = await read(repository, digest, selection, access);
        const found: (Date | undefined)[] = [];
        await inParallel(images, parallel, async (image) => {
          found.push(await dateOf(repository, image, access));
        });
        const known = found.filter((date) => date !== undefined);
        if (known.length < found.length) return undefined;
        return known.sort((one, other) => other.getTime() - one.getTime())[0];
      }),
  };
}

/** The images among the manifests; what BuildKit tells of them in the same index (`unknown/unknown`) is none. */
function imagesOf(root: Manifest, manifests: Map<Digest, Manifest>): Image[] {
  const whole = annotationOf(parseJson(root.bytes));
  const parsed = [...manifests].map(([digest, { bytes }]) => ({ digest, body: parseJson(bytes) }));
  const aside = new Set(
    parsed
      .flatMap(({ body }) => entriesOf(body) ?? [])
      .filter((entry) => member(entry, 'platform', 'os') === 'unknown')
      .map((entry) => member(entry, 'digest')),
  );
  return parsed.flatMap(({ digest, body }) => {
    if (entriesOf(body) || aside.has(digest)) return [];
    const config = member(body, 'config');
    const annotated = annotationOf(body) ?? whole;
    return {
      ...(isObject(config) && { config: config as unknown as { digest: Digest; size: number } }),
      ...(annotated !== undefined && { annotated }),
    };
  });
}

function entriesOf(body: unknown): unknown[] | undefined {
  const entries = member(body, 'manifests');
  return Array.isArray(entries) ? entries : undefined;
}

function annotationOf(manifest: unknown): string | undefined {
  const value = member(manifest, 'annotations', createdAnnotation);
  return typeof value === 'string' ? value : undefined;
}

function asDate(value: unknown): Date | undefined {
  const time = typeof value === 'string' ? Date.parse(value) : NaN;
  return time >= firstImage && time < lastImage ? new Date(time) : undefined;
}
