import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  docker,
  indexOf,
  type Manifest,
  manifestOf,
  noiseLayer,
  oci,
  platformsIndex,
  push,
  pushBlob,
  type Pushed,
} from '../../test/fixtures/image.ts';
import { freePort, startRegistry, type TestRegistry } from '../../test/fixtures/registry.ts';
import { forward, startStandIn } from '../../test/fixtures/stand-in.ts';
import { fetchTree } from '../../test/fixtures/tree.ts';
import type { Digest } from '../core/digest.ts';
import { MirrorError } from '../core/errors.ts';
import { allowAll } from '../lib/address.ts';
import { createRegistry } from './client.ts';
import type { Registry } from './registry.ts';

const access = { signal: new AbortController().signal };
const unknown: Digest = `sha256:${'0'.repeat(64)}`;

// Everything here is a real docker-registry.
describe('the registry client', () => {
  let server: TestRegistry;
  let client: Registry;
  beforeAll(async () => {
    server = await startRegistry();
    client = createRegistry({ hosts: new Map(), proxy: {}, policy: allowAll });
  });
  afterAll(() => Promise.all([client.close(), server.stop()]));

  const at = (path: string) => ({ registry: server.host, path });
  const digestOf = (image: Manifest) => image.digest as Digest;
  const image = (seed: number, types = oci) => manifestOf([noiseLayer(seed, 1000, types)], { types });

  /** What the client asks of a registry, as a server on the way to the real one sees it. */
  async function watch(what: (host: string) => Promise<void>): Promise<string[]> {
    const front = await startStandIn(forward(server.url));
    await what(front.host);
    await front.stop();
    return front.seen.map(({ method, path }) => `${method} ${path}`);
  }

  const kinds: [string, () => Manifest][] = [
    [oci.index, () => platformsIndex(1, { size: 500 })],
    [oci.manifest, () => image(2)],
    [docker.index, () => platformsIndex(3, { size: 500, types: docker })],
    [docker.manifest, () => image(4, docker)],
  ];
  describe.each(kinds)('given %s', (mediaType, make) => {
    const path = mediaType.replace(/[^a-z0-9]+/g, '-');
    let pushed: Pushed;
    beforeAll(async () => {
      pushed = await push(server.url, path, 'v1', make());
    });

    it.each([
      ['tag', () => ({ tag: 'v1' })],
      ['digest', () => ({ digest: digestOf(pushed) })],
      ['tag and digest', () => ({ tag: 'moved', digest: digestOf(pushed) })],
    ])('resolves and reads it by %s', async (_, name) => {
      const reference = { ...at(path), ...name() };
      const descriptor = { mediaType, digest: pushed.digest, size: pushed.bytes.length };
      expect(await client.resolve(reference, access)).toEqual(descriptor);
      const manifest = await client.manifest(reference, access);
      expect(manifest).toMatchObject(descriptor);
      expect(Buffer.from(manifest?.bytes ?? '').equals(pushed.bytes)).toBe(true);
    });

    it('sets a tag on it, and the bytes stay the same', async () => {
      const manifest = await client.manifest({ ...at(path), tag: 'v1' }, access);
      if (!manifest) throw new Error('not there');
      await client.putManifest(at(path), 'v2', manifest, access);
      expect(await fetchTree(server.url, path, 'v2')).toEqual(await fetchTree(server.url, path, 'v1'));
    });
  });

  it('resolves without reading the bytes, because only GET counts against pull limits', async () => {
    await push(server.url, 'quota', 'v1', image(5));
    const seen = await watch(async (registry) => {
      await client.resolve({ registry, path: 'quota', tag: 'v1' }, access);
    });
    expect(seen).toEqual(['HEAD /v2/quota/manifests/v1']);
  });

  it.each([
    ['tag', 'here', { tag: 'v9' }],
    ['digest', 'here', { digest: unknown }],
    ['repository', 'nowhere', { tag: 'v1' }],
  ])('has undefined for an unknown %s, after one request', async (_, path, name) => {
    await push(server.url, 'here', 'v1', image(6));
    const seen = await watch(async (registry) => {
      expect(await client.resolve({ registry, path, ...name }, access)).toBeUndefined();
      expect(await client.manifest({ registry, path, ...name }, access)).toBeUndefined();
    });
    expect(seen).toHaveLength(2);
  });

  it('compares the size of a blob and streams its bytes', async () => {
    const layer = noiseLayer(7, 300_000);
    await pushBlob(server.url, 'blobs', layer);
    const digest = layer.digest as Digest;
    const size = layer.bytes.length;
    expect(await client.lookForBlob(at('blobs'), { digest, size }, access)).toBe('there');
    expect(await client.lookForBlob(at('blobs'), { digest, size: size + 1 }, access)).toBe('size');
    const chunks: Uint8Array[] = [];
    for await (const chunk of await client.blob(at('blobs'), digest, access)) chunks.push(chunk);
    expect(Buffer.concat(chunks).equals(layer.bytes)).toBe(true);
  });

  it('misses a blob that is not there, and calls reading it blob_unknown', async () => {
    expect(await client.lookForBlob(at('blobs'), { digest: unknown, size: 1 }, access)).toBe('missing');
    await expect(client.blob(at('blobs'), unknown, access)).rejects.toMatchObject({ code: 'blob_unknown' });
  });

  describe('pushing a blob', () => {
    const layer = noiseLayer(9, 300_000);
    const blob = { digest: layer.digest as Digest, size: layer.bytes.length };
    async function* inParts(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
      for (let from = 0; from < bytes.length; from += 50_000) yield bytes.subarray(from, from + 50_000);
      await Promise.resolve();
    }
    const open = (bytes: Uint8Array) => () => Promise.resolve(inParts(bytes));

    it('puts it there, and not again when it is', async () => {
      await client.putBlob(at('pushed'), blob, open(layer.bytes), access);
      expect(await client.lookForBlob(at('pushed'), blob, access)).toBe('there');
      const unasked = () => Promise.reject(new Error('its bytes were wanted'));
      await client.putBlob(at('pushed'), blob, unasked, access);
    });

    it.each([
      ['other bytes', noiseLayer(10, 300_000).bytes.slice(0, blob.size)],
      ['more bytes', Buffer.concat([layer.bytes, Buffer.from('x')])],
      ['fewer bytes', layer.bytes.slice(0, -1)],
    ])('notices %s, and leaves nothing', async (_, bytes) => {
      await expect(client.putBlob(at('wrong'), blob, open(bytes), access)).rejects.toMatchObject({
        code: 'digest_mismatch',
      });
      expect(await client.lookForBlob(at('wrong'), blob, access)).toBe('missing');
    });

    it.each<[string, () => Promise<AsyncIterable<Uint8Array>>]>([
      ['its bytes are others', open(layer.bytes.slice(0, -1))],
      ['there are none', () => Promise.reject(new MirrorError('blob_unknown', 'Not there.'))],
    ])('cancels the upload when %s', async (_, bytes) => {
      const seen = await watch(async (registry) => {
        await expect(client.putBlob({ registry, path: 'left' }, blob, bytes, access)).rejects.toThrow();
      });
      expect(seen.at(-1)).toMatch(/^DELETE \/v2\/left\/blobs\/uploads\//);
    });

    it('fails as its bytes do', async () => {
      async function* broken(): AsyncGenerator<Uint8Array> {
        yield await Promise.resolve(layer.bytes.subarray(0, 1000));
        throw new MirrorError('reset', 'The source went away.', { side: 'source' });
      }
      await expect(
        client.putBlob(at('cut'), blob, () => Promise.resolve(broken()), access),
      ).rejects.toMatchObject({ code: 'reset', side: 'source' });
    });
  });

  it('tells that docker-registry keeps no list of referrers, nor says that it has listed one', async () => {
    const subject = image(11);
    await push(server.url, 'referred', 'v1', subject);
    expect(await client.referrers(at('referred'), subject.digest as Digest, access)).toBeUndefined();
    const { bytes, digest, mediaType } = manifestOf([noiseLayer(11, 100)], { subject });
    await push(server.url, 'referred', 'other', manifestOf([noiseLayer(11, 100)]));
    const artifact = { bytes, digest: digest as Digest, mediaType, size: bytes.length };
    expect(await client.putManifest(at('referred'), digest, artifact, access)).toEqual({ listed: false });
  });

  it('says what the registry has against a manifest', async () => {
    const { bytes, digest, mediaType } = indexOf([image(8)]);
    const index = { bytes, digest: digest as Digest, mediaType, size: bytes.length };
    await expect(client.putManifest(at('empty'), 'v1', index, access)).rejects.toMatchObject({
      code: 'copy_failed',
      message: expect.stringContaining('MANIFEST_BLOB_UNKNOWN') as string,
    });
  });

  it('refuses to believe in a manifest that the registry stored under another digest', async () => {
    const { bytes, mediaType } = await push(server.url, 'other', 'v1', image(9));
    const wrong = { bytes, mediaType, digest: unknown, size: bytes.length };
    await expect(client.putManifest(at('other'), 'v2', wrong, access)).rejects.toMatchObject({
      code: 'digest_mismatch',
    });
  });

  it('sees that it may push, and leaves no upload behind', async () => {
    const seen = await watch(async (host) => {
      expect(await client.checkPush({ registry: host, path: 'new/repository' }, access)).toBe(true);
    });
    expect(seen.map((each) => each.replace(/[0-9a-f-]{36}\?.*/, 'ID'))).toEqual([
      'POST /v2/new/repository/blobs/uploads/',
      'DELETE /v2/new/repository/blobs/uploads/ID',
    ]);
  });

  it('sees that it may not push to a registry that is read-only', async () => {
    const still = await startRegistry({ readonly: true });
    const asked = client.checkPush({ registry: still.host, path: 'a/b' }, access);
    await expect(asked).rejects.toMatchObject({ code: 'push_refused' });
    await still.stop();
  });

  it('reads the registry’s clock from a ping', async () => {
    const time = await client.ping(server.host, access);
    expect(Math.abs((time?.getTime() ?? 0) - Date.now())).toBeLessThan(5000);
  });

  it('gives up when its caller does', async () => {
    const reason = new Error('enough');
    const signal = AbortSignal.abort(reason);
    await expect(client.ping(server.host, { signal })).rejects.toMatchObject({ cause: reason });
  });

  it('calls a host without a server refused, and a host without a name dns', async () => {
    const nobody = `127.0.0.1:${await freePort()}`;
    await expect(client.ping(nobody, access)).rejects.toMatchObject({ code: 'refused', retryable: true });
    const unnamed = client.ping('registry.invalid', access);
    await expect(unnamed).rejects.toMatchObject({ code: 'dns', retryable: false });
  });

  it('tells no side, which its caller knows', async () => {
    const nobody = `127.0.0.1:${await freePort()}`;
    await expect(client.ping(nobody, access)).rejects.toMatchObject({ side: undefined });
  });
});
