import { describe, expect, it } from 'vitest';
import { sha256, oci } from '../../test/fixtures/image.ts';
import type { Digest } from '../core/digest.ts';
import type { Descriptor, Registry } from '../registry/registry.ts';
import type { Place } from './place.ts';
import { listReferrers } from './referrers.ts';

const digestOf = (name: string) => sha256(Buffer.from(name)) as Digest;
const entry = (name: string, artifactType = 'a/b'): Descriptor => ({
  ...{ mediaType: oci.manifest, digest: digestOf(name), size: 1 },
  ...(artifactType && { artifactType }),
});

/** A source that lists these; it has no cosign tags. @returns also how often it was asked. */
function source(list: (subject: Digest) => Descriptor[]) {
  const asked = { lists: 0, manifests: 0 };
  const registry = {
    referrers: (_: unknown, subject: Digest) => {
      asked.lists++;
      return Promise.resolve(list(subject));
    },
    resolve: () => Promise.resolve(undefined),
    manifest: () => {
      asked.manifests++;
      return Promise.resolve(undefined);
    },
  } as unknown as Registry;
  const access = { signal: new AbortController().signal };
  const place: Place = { registry, repository: { registry: 'a.io', path: 'b' }, access, side: 'source' };
  return { place, asked };
}
const refused = { code: 'unsupported_manifest', side: 'source' };
const root = digestOf('root');

describe('listing what refers to an image', () => {
  it('comes to an end in a circle', async () => {
    const { place, asked } = source((subject) => [entry(subject === root ? 'one' : 'root')]);
    expect(await listReferrers(place, [root], 'all')).toHaveLength(2);
    expect(asked.lists).toBe(2);
  });

  it.each([
    ['wide', (subject: Digest) => Array.from({ length: 2000 }, (_, n) => entry(`${subject}${n}`))],
    ['deep', (subject: Digest) => [entry(subject)]],
    ['ever wider', (subject: Digest) => Array.from({ length: 30 }, (_, n) => entry(`${subject}${n}`))],
  ])('is refused where that is without measure: %s', async (_, list) => {
    const { place, asked } = source(list);
    await expect(listReferrers(place, [root], 'all')).rejects.toMatchObject(refused);
    expect(asked.lists).toBeLessThan(100);
  });

  it('reads no more of those that do not say what they are', async () => {
    const { place, asked } = source(() => Array.from({ length: 5000 }, (_, n) => entry(`${n}`, '')));
    await expect(listReferrers(place, [root], ['c/d'])).rejects.toMatchObject(refused);
    expect(asked.manifests).toBeLessThan(1100);
  });

  it('keeps no type that has other than visible characters', async () => {
    const types = ['a/b', 'a\u0000b', '\u001b[2J', 'a\ud800', 'x'.repeat(300)];
    const { place } = source((subject) =>
      subject === root ? types.map((type, n) => entry(`${n}`, type)) : [],
    );
    const found = await listReferrers(place, [root], 'all');
    expect(found.map(({ artifactType }) => artifactType)).toEqual(['a/b', '', '', '', '']);
  });
});
