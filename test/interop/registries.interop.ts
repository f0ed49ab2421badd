import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
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
import { startRegistry } from '../fixtures/registry.ts';
import { fetchTree } from '../fixtures/tree.ts';
import { type Peer, startCrane, startDistribution, startOlareg } from './registries.ts';
import { settled, startDray, submit } from './service.ts';

const run = promisify(execFile);
const { go, olareg } = inject('tools');

let seed = 0;
const single = () => manifestOf([noiseLayer(++seed, 20_000), noiseLayer(++seed, 5000)]);
const images: [string, () => Manifest][] = [
  ['an index of eight platforms', () => platformsIndex(++seed, { platforms: eightPlatforms })],
  [
    'an index with attestations',
    () => {
      const image = single();
      return indexOf([image, attestationOf(image, ++seed)]);
    },
  ],
  ['a single manifest', single],
  ['a Docker manifest', () => manifestOf([noiseLayer(++seed, 9000, docker)], { types: docker })],
  ['a Docker list', () => platformsIndex(++seed, { types: docker, platforms: eightPlatforms.slice(0, 3) })],
];

/** Every make of registry that there is here. */
const makes: [string, () => Promise<Peer>][] = [
  ['docker-registry 2.8', startRegistry],
  ...(go
    ? ([
        ['crane registry', () => startCrane(go.crane)],
        ['distribution 3', () => startDistribution(go.registry)],
      ] as [string, () => Promise<Peer>][])
    : []),
  ...(olareg ? [['olareg', () => startOlareg(olareg)] as [string, () => Promise<Peer>]] : []),
];
const pairs = makes.flatMap(([source]) => makes.map(([target]) => ({ source, target })));

describe.skipIf(makes.length < 2)('between registries of several makes', () => {
  const sources = new Map<string, Peer>();
  const targets = new Map<string, Peer>();
  let service: Awaited<ReturnType<typeof startDray>>;
  beforeAll(async () => {
    service = await startDray();
    for (const [make, start] of makes) {
      sources.set(make, await start());
      targets.set(make, await start());
    }
  });
  afterAll(async () => {
    await service.end();
    await Promise.all([...sources.values(), ...targets.values()].map((peer) => peer.stop()));
  });
  const peers = (source: string, target: string) =>
    [sources.get(source), targets.get(target)] as [Peer, Peer];

  describe.each(pairs)('from $source to $target', ({ source, target }) => {
    it.each(images)('mirrors %s byte for byte, and then finds it there', async (_, make) => {
      const [from, to] = peers(source, target);
      const path = `lib/image-${++seed}`;
      const image = await push(from.url, path, 'v1', make());
      const repository = `${to.host}/from-${makes.findIndex(([name]) => name === source)}`;
      const answer = await submit(service.url, `${from.host}/${path}:v1`, repository);
      expect(answer).toMatchObject({ targetImage: `${repository}/${path}:v1`, cached: false });

      const { last } = await settled(service.url, answer.buildId);
      expect(last).toMatchObject({ state: 'done' });
      expect(last.progress.layersDone).toBe(last.progress.layersTotal);
      const mirrored = repository.slice(to.host.length + 1) + `/${path}`;
      const before = await fetchTree(from.url, path, 'v1');
      expect(before.some(({ digest }) => digest === image.digest)).toBe(true);
      expect(await fetchTree(to.url, mirrored, 'v1')).toEqual(before);
      const again = await submit(service.url, `${from.host}/${path}:v1`, repository);
      expect(again).toMatchObject({ cached: true, succeeded: true });
    });
  });

  describe.skipIf(!go)('read by crane', () => {
    it.each(makes.map(([make]) => make))(
      'an image that was mirrored to %s has its digest, is whole, and can be pulled',
      async (make) => {
        const [from, to] = peers('docker-registry 2.8', make);
        const path = `crane/image-${++seed}`;
        const image = await push(from.url, path, 'v1', platformsIndex(++seed));
        const { buildId, targetImage } = await submit(service.url, `${from.host}/${path}:v1`, to.host);
        expect((await settled(service.url, buildId)).last.state).toBe('done');
        const crane = async (...args: string[]) =>
          (await run(go?.crane ?? '', args, { env: { HOME: service.folder } })).stdout.trim();
        expect(await crane('digest', '--insecure', targetImage)).toBe(image.digest);
        const found = await run(go?.crane ?? '', ['validate', '--insecure', '--remote', targetImage]);
        expect(found.stdout + found.stderr).toContain('PASS');
        const layout = join(service.folder, `layout-${seed}`);
        await crane('pull', '--insecure', '--format', 'oci', targetImage, layout);
        expect(await readFile(join(layout, 'index.json'), 'utf8')).toContain(image.digest);
      },
    );
  });
});
