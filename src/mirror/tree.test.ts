import { describe, expect, it } from 'vitest';
import { content, oci } from '../../test/fixtures/image.ts';
import type { Digest } from '../core/digest.ts';
import type { Registry } from '../registry/registry.ts';
import { readTree } from './tree.ts';

const access = { signal: new AbortController().signal };
const repository = { registry: 'a.io', path: 'b' };
const digest: Digest = `sha256:${'a'.repeat(64)}`;
const config: Digest = `sha256:${'b'.repeat(64)}`;

function manifest(body: unknown, mediaType = oci.manifest) {
  const { bytes, digest } = content(mediaType, Buffer.from(JSON.stringify(body)));
  return { mediaType, bytes, digest: digest as Digest, size: bytes.length };
}

/** Reads an index of these manifests. @returns also how many were asked for. */
async function read(children: ReturnType<typeof manifest>[]) {
  const entries = children.map(({ mediaType, digest, size }) => ({ mediaType, digest, size }));
  const index = manifest({ schemaVersion: 2, manifests: entries }, oci.index);
  const all = new Map([index, ...children].map((each) => [each.digest, each]));
  let asked = 0;
  const registry = {
    manifest: ({ digest }: { digest: Digest }) => {
      asked++;
      return Promise.resolve(all.get(digest));
    },
  } as unknown as Registry;
  const outcome = await readTree(registry, repository, index.digest, access).catch((error: unknown) => error);
  return { outcome, asked };
}
const image = (n: number, { size = 1, padding = '' } = {}) =>
  manifest({
    config: { mediaType: oci.config, digest: config, size: 1 },
    layers: [{ digest, size }],
    n,
    padding,
  });
const refused = expect.objectContaining({ code: 'unsupported_manifest' }) as Error;

describe('reading a tree', () => {
  it('ends when its manifests have more bytes than anything real', async () => {
    const padding = 'x'.repeat(3_000_000);
    const { outcome, asked } = await read(Array.from({ length: 60 }, (_, n) => image(n, { padding })));
    expect(outcome).toEqual(refused);
    expect(asked).toBeLessThan(20);
  });

  it.each([1.5, -1, 1e19, Number.MAX_SAFE_INTEGER, '7', null])('takes no %j for a size', async (size) => {
    expect((await read([image(0, { size: size as number })])).outcome).toEqual(refused);
  });

  it('takes what is real', async () => {
    const { outcome } = await read(Array.from({ length: 60 }, (_, n) => image(n, { size: 2 ** 40 })));
    expect(outcome).toMatchObject({ foreign: [], nested: false });
  });
});
