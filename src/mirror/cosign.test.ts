import { describe, expect, it } from 'vitest';
import { content, oci } from '../../test/fixtures/image.ts';
import type { Digest } from '../core/digest.ts';
import type { Manifest, Registry } from '../registry/registry.ts';
import { holdsAll, joined } from './cosign.ts';
import type { Place } from './place.ts';

const manifest = (body: unknown, mediaType = oci.manifest): Manifest => {
  const { digest, bytes } = content(mediaType, Buffer.from(JSON.stringify(body)));
  return { mediaType, digest: digest as Digest, size: bytes.length, bytes };
};
const digest = `sha256:${'a'.repeat(64)}` as const;
const layer = { mediaType: 'a/b', digest, size: 2, annotations: { key: 'signature' } };
const good = manifest({ schemaVersion: 2, config: { ...layer, digest }, layers: [layer] });
/** What a registry may have under such a tag beside signatures. */
const odd: [string, Manifest][] = [
  ['an index', manifest({ schemaVersion: 2, manifests: [] }, oci.index)],
  [
    'a config without a digest',
    manifest({ config: { digest: '../../x', size: 2 }, layers: [{ ...layer, size: 3, annotations: {} }] }),
  ],
  ['no config', manifest({ config: null, layers: [{ ...layer, annotations: { key: 'another' } }] })],
  ['layers that are none', manifest({ config: null, layers: [null, 7, 'x', { annotations: 7 }] })],
];
const tag = 'sha256-x.sig';

/** A place that has one manifest, and takes what it is given. It knows no blobs. */
function placeWith(held: Manifest): Place & { paths: string[] } {
  const paths: string[] = [];
  const registry = {
    resolve: () => Promise.resolve(held),
    manifest: () => Promise.resolve(held),
    blob: (_: unknown, blob: string) => {
      paths.push(blob);
      return Promise.reject(new Error('It was asked for.'));
    },
    putBlob: () => Promise.resolve(),
  } as unknown as Registry;
  const access = { signal: new AbortController().signal };
  return { registry, repository: { registry: 'a.io', path: 'b' }, access, side: 'target', paths };
}

describe("what is under cosign's tag", () => {
  it('may be an index at the target: that is left as it is, and told', async () => {
    const held = manifest({ schemaVersion: 2, manifests: [] }, oci.index);
    await expect(joined(placeWith(held), tag, held, good)).rejects.toMatchObject({
      code: 'unsupported_manifest',
      side: 'target',
    });
  });

  it.each(odd.slice(1))('may be %s at the target: signatures come to it all the same', async (_, held) => {
    const place = placeWith(held);
    const next = await joined(place, tag, held, good);
    expect(JSON.parse(Buffer.from(next?.bytes ?? []).toString())).toMatchObject({
      layers: expect.arrayContaining([layer]) as unknown,
    });
    expect(place.paths).toEqual([]);
  });

  it.each(odd)('may be %s at the source: nothing stumbles over it', async (_, wanted) => {
    const found = { digest: wanted.digest, subject: digest, mediaType: '', artifactType: '', tag };
    expect(typeof (await holdsAll(placeWith(wanted), placeWith(good), found))).toBe('boolean');
  });
});
