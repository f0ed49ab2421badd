import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Content, manifestOf, noiseLayer, oci, sha256 } from '../fixtures/image.ts';
import { answer, type StandIn, startStandIn } from '../fixtures/stand-in.ts';
import { createWorld, type World } from '../fixtures/world.ts';

/** A source that says of its images whatever it likes: what is under a path (`/v2/…`), with its media type. */
interface HostileSource extends StandIn {
  put(path: string, mediaType: string, body: unknown): string;
  putImage(repository: string, tag: string, manifest: Content, blobs?: Content[]): void;
}

async function startHostileSource(): Promise<HostileSource> {
  const held = new Map<string, { mediaType: string; bytes: Buffer }>();
  const standIn = await startStandIn(({ method, path }, response) => {
    const found =
      path === '/v2/' ? { mediaType: 'application/json', bytes: Buffer.from('{}') } : held.get(path);
    if (!found) return answer(response, 404);
    answer(response, 200, method === 'HEAD' ? '' : found.bytes, {
      'content-type': found.mediaType,
      'content-length': `${found.bytes.length}`,
      ...(path.includes('/manifests/') && { 'docker-content-digest': sha256(found.bytes) }),
    });
  });
  const put = (path: string, mediaType: string, body: unknown) => {
    const bytes = Buffer.from(
      typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
    );
    held.set(path, { mediaType, bytes });
    return sha256(bytes);
  };
  return {
    ...standIn,
    put,
    putImage(repository, tag, { mediaType, digest, bytes }, blobs = []) {
      for (const under of [tag, digest]) put(`/v2/${repository}/manifests/${under}`, mediaType, bytes);
      for (const blob of blobs) put(`/v2/${repository}/blobs/${blob.digest}`, blob.mediaType, blob.bytes);
    },
  };
}

let world: World;
let source: HostileSource;
beforeAll(async () => {
  [world, source] = await Promise.all([
    createWorld({ settings: 'freshness: 0\nretry: {tries: 2, firstPause: 0.1}\n' }),
    startHostileSource(),
  ]);
});
afterAll(async () => {
  await world.stop();
  await source.stop();
});

interface View {
  state: string;
  failure?: { code: string; side?: string; message: string };
  arrival?: { referrers: { artifactType: string }[] };
}
const bearer = () => ({ authorization: `Bearer ${world.service.key}` });
/** How a mirror of an image of the hostile source ends. */
async function outcome(image: string, more: Record<string, unknown> = {}): Promise<View> {
  const body = { images: [`${source.host}/${image}`], to: world.target.host, ...more };
  const asked = await world.call<{ outcomes: { mirrorId?: string; error?: View['failure'] }[] }>(
    'POST',
    '/v1/mirrors',
    body,
    bearer(),
  );
  const [one] = asked.body.outcomes;
  if (one?.error) return { state: 'refused', failure: one.error };
  for (;;) {
    const { body: view } = await world.call<View>('GET', `/v1/mirrors/${one?.mirrorId}`, undefined, bearer());
    if (!['queued', 'copying'].includes(view.state)) return view;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const unprintable = /[\x00-\x1f\x7f-\x9f]|\\u0000/;

describe('a hostile source', () => {
  it('can not keep a mirror from ending by what no database takes in the type of a referrer', async () => {
    const image = manifestOf([noiseLayer(1, 300)]);
    source.putImage('nul/type', '1', image, image.children);
    const referrer = {
      schemaVersion: 2,
      mediaType: oci.manifest,
      artifactType: 'a\0b\ud800',
      config: { mediaType: 'x/y', digest: image.children[0]?.digest, size: image.children[0]?.bytes.length },
      layers: [],
      subject: { mediaType: oci.manifest, digest: image.digest, size: image.bytes.length },
    };
    const digest = source.put('/v2/nul/type/manifests/x', oci.manifest, referrer);
    source.put(`/v2/nul/type/manifests/${digest}`, oci.manifest, referrer);
    const entry = { mediaType: oci.manifest, digest, size: 9, artifactType: 'a\0b\ud800' };
    source.put(`/v2/nul/type/referrers/${image.digest}`, oci.index, { schemaVersion: 2, manifests: [entry] });
    const { state, failure, arrival } = await outcome('nul/type:1');
    expect([state, failure]).toEqual(['done', undefined]);
    expect(JSON.stringify(arrival)).not.toMatch(unprintable);
  });

  it('can not write control characters into a failure by the platforms that it names', async () => {
    const image = manifestOf([noiseLayer(2, 300)]);
    const os = 'evil\x1b[2J\0\ud800';
    const entry = { mediaType: oci.manifest, digest: image.digest, size: image.bytes.length };
    source.putImage('nul/platform', 'child', image, image.children);
    const index = {
      schemaVersion: 2,
      mediaType: oci.index,
      manifests: [{ ...entry, platform: { os, architecture: 'x' } }],
    };
    const digest = source.put('/v2/nul/platform/manifests/1', oci.index, index);
    source.put(`/v2/nul/platform/manifests/${digest}`, oci.index, index);
    const { state, failure } = await outcome('nul/platform:1', { platforms: ['linux/s390x'] });
    expect([state, failure?.code]).toEqual(['failed', 'platform_unknown']);
    expect(failure?.message).not.toMatch(unprintable);
  });

  it.each([1.5, 1e19, 1e300])('can not have a size written that is none: %d', async (size) => {
    const image = manifestOf([noiseLayer(3, 300)]);
    const body = JSON.parse(Buffer.from(image.bytes).toString()) as { layers: { size: number }[] };
    for (const layer of body.layers) layer.size = size;
    const digest = source.put('/v2/size/of/manifests/1', oci.manifest, body);
    source.put(`/v2/size/of/manifests/${digest}`, oci.manifest, body);
    source.putImage('size/of', 'other', image, image.children);
    const { state, failure } = await outcome('size/of:1');
    expect([state, failure?.code]).toEqual(['failed', 'unsupported_manifest']);
  });
});
