import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  attestationOf,
  docker,
  eightPlatforms,
  indexOf,
  type Manifest,
  manifestOf,
  noiseLayer,
  platformsIndex,
  push,
} from '../fixtures/image.ts';
import { fetchTree } from '../fixtures/tree.ts';
import { createWorld, type World } from '../fixtures/world.ts';

let world: World;
beforeAll(async () => {
  world = await createWorld({ settings: 'freshness: 0\n' });
});
afterAll(() => world.stop());

let seed = 1000;
const single = () => manifestOf([noiseLayer(++seed, 8000), noiseLayer(++seed, 9000)]);
const attested = () => {
  const images = eightPlatforms
    .slice(0, 2)
    .map((platform) => manifestOf([noiseLayer(++seed, 7000)], { platform }));
  return indexOf([...images, ...images.map((image) => attestationOf(image, ++seed))]);
};
const kinds: [string, () => Manifest][] = [
  ['a single manifest', single],
  ['a Docker v2 manifest', () => manifestOf([noiseLayer(++seed, 9000, docker)], { types: docker })],
  ['an index of eight platforms', () => platformsIndex(++seed)],
  ['an index with attestation entries', attested],
  [
    'a Docker v2 list',
    () => platformsIndex(++seed, { types: docker, platforms: eightPlatforms.slice(0, 3) }),
  ],
];

async function digestAt(url: string, repository: string, tag: string): Promise<string | undefined> {
  const accept = [docker.index, docker.manifest, 'application/vnd.oci.image.index.v1+json'].join(', ');
  const answer = await fetch(`${url}/v2/${repository}/manifests/${tag}`, {
    method: 'HEAD',
    headers: { accept: `${accept}, application/vnd.oci.image.manifest.v1+json` },
  });
  return answer.headers.get('docker-content-digest') ?? undefined;
}
const targetDigest = (repository: string, tag: string) => digestAt(world.target.url, repository, tag);

/** Mirrors and waits; the status must be a success. */
async function mirrored(image: string, to?: string) {
  const { status, body } = await world.submit(image, to);
  expect(status, JSON.stringify(body)).toBe(200);
  expect(await world.finished(body.requestId)).toMatchObject({ succeeded: true });
  return body;
}

describe.each(kinds)('%s', (_, make) => {
  it.each(['tag', 'digest', 'tag and digest'])('arrives byte for byte, asked for by %s', async (by) => {
    const path = `kinds/${++seed}`;
    const image = await push(world.source.url, path, 'v1', make());
    const suffix =
      { tag: ':v1', digest: `@${image.digest}`, 'tag and digest': `:v1@${image.digest}` }[by] ?? '';
    const answer = await mirrored(`${world.source.host}/${path}${suffix}`);
    expect(answer.targetImage).toBe(`${world.target.host}/${path}${suffix}`);
    const want = await fetchTree(world.source.url, path, image.digest);
    expect(want.length).toBeGreaterThan(2);
    expect(await fetchTree(world.target.url, path, image.digest)).toEqual(want);
    expect(await targetDigest(path, 'v1')).toBe(by === 'digest' ? undefined : image.digest);
  });
});

describe('a reference with tag and digest', () => {
  it('moves the tag of the target only while the tag of the source has this digest', async () => {
    const { source } = world;
    const path = 'pinned';
    const old = await push(source.url, path, 'v', single());
    await mirrored(`${source.host}/${path}:v`);
    const now = await push(source.url, path, 'v', single());
    // The old one again: it is there by its digest, and the tag, which has moved on at the source, stays.
    await mirrored(`${source.host}/${path}:v@${old.digest}`);
    expect(await targetDigest(path, 'v')).toBe(old.digest);
    await mirrored(`${source.host}/${path}:v@${now.digest}`);
    expect(await targetDigest(path, 'v')).toBe(now.digest);
    const back = await mirrored(`${source.host}/${path}:v@${old.digest}`);
    expect(back).toMatchObject({ cached: true });
    expect(await targetDigest(path, 'v')).toBe(now.digest);
  });

  it('is refused when the digest is not in that repository', async () => {
    const other = await push(world.source.url, 'pinned-other', 'v', single());
    await push(world.source.url, 'pinned-here', 'v', single());
    const answer = await world.submit(`${world.source.host}/pinned-here:v@${other.digest}`);
    expect(answer).toMatchObject({ status: 404, body: { code: 'manifest_unknown', side: 'source' } });
  });
});

it('tells layers and bytes as they are, while it copies and at the end', async () => {
  const image = await push(world.source.url, 'counted', '1', platformsIndex(++seed));
  const { buildId } = await mirrored(`${world.source.host}/counted:1`);
  const authorization = `Bearer ${world.service.key}`;
  const { body } = await world.call('GET', `/v1/mirrors/${buildId}`, undefined, { authorization });
  const blobs = [...image.contents.values()].filter(({ mediaType }) => /layer|config/.test(mediaType));
  const bytes = blobs.reduce((sum, { bytes }) => sum + bytes.length, 0);
  expect(body).toMatchObject({
    state: 'done',
    attempts: 1,
    digest: image.digest,
    progress: { layersDone: 9, layersTotal: 9, bytesDone: bytes, bytesTotal: bytes },
  });
});
