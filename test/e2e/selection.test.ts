import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Forest, type ForestPlan, growForest, type ImagePlan, pushForest } from '../fixtures/forest.ts';
import { manifestOf, noiseLayer, oci, push } from '../fixtures/image.ts';
import { countOf, missingFrom, takeInventory } from '../fixtures/inventory.ts';
import { type ReferrersApi, startReferrersApi } from '../fixtures/referrers-api.ts';
import { showcasePlan } from '../fixtures/showcase.ts';
import { type ContainerAnswer, createWorld, type World } from '../fixtures/world.ts';

/** A service that brings amd64 and arm64 alone, between registries of which the target takes such an index. */
let world: World;
let target: ReferrersApi;
/** One that brings everything. */
let greedy: World;
beforeAll(async () => {
  [world, greedy] = await Promise.all([
    createWorld({ settings: 'freshness: 0\nplatforms: [linux/amd64, linux/arm64]\n' }),
    createWorld({ settings: 'freshness: 0\n' }),
  ]);
  target = await startReferrersApi(world.target.host, { sparse: true });
});
afterAll(async () => {
  await target.stop();
  await Promise.all([world.stop(), greedy.stop()]);
});

let runs = 0;
/** The showcase: children 0 to 2 are amd64, arm64 and s390x, 3 to 5 their attestations; s390x is signed too. */
async function showcase(): Promise<{ path: string; forest: Forest }> {
  const path = `chosen/${++runs}`;
  const plan: ForestPlan = {
    ...showcasePlan,
    referrers: [
      ...showcasePlan.referrers,
      { of: 3, shape: 'config', type: 1, annotated: false, layers: [6] },
      { of: 6, shape: 'config', type: 1, annotated: false, layers: [6] },
    ],
  };
  const forest = growForest(plan, path);
  await pushForest(world.source.url, path, 'v1', forest, 'fallback');
  return { path, forest };
}

async function mirrored(path: string, which = world, to = target.host): Promise<ContainerAnswer> {
  const { status, body } = await which.submit(`${world.source.host}/${path}:v1`, to);
  expect(status, JSON.stringify(body)).toBe(200);
  expect(await which.finished(body.requestId)).toMatchObject({ succeeded: true });
  return body;
}

const head = async (path: string, reference: string, url = target.url) =>
  fetch(`${url}/v2/${path}/manifests/${reference}`, {
    method: 'HEAD',
    headers: { accept: [oci.index, oci.manifest].join(', ') },
  });

/** Which children of the image are there, by their number. */
async function childrenThere(path: string, { root }: Forest): Promise<number[]> {
  const there = await Promise.all(
    root.children.map(async ({ digest }) => (await head(path, digest)).status === 200),
  );
  return there.flatMap((is, n) => (is ? [n] : []));
}

const writes = () => world.target.log().match(/"(?:POST|PUT|PATCH) /g)?.length ?? 0;

describe('with chosen platforms', () => {
  it('only their images come, with their attestations and what refers to them; the index keeps its digest', async () => {
    const { path, forest } = await showcase();
    await mirrored(path);
    expect(await childrenThere(path, forest)).toEqual([0, 1, 3, 4]);
    expect((await head(path, 'v1')).headers.get('docker-content-digest')).toBe(forest.root.digest);
    const from = async (digest: string) => takeInventory(world.source.url, path, digest, 'fallback');
    const at = async (digest: string) => takeInventory(target.url, path, digest, 'api');
    for (const n of [0, 1, 3, 4]) {
      const child = forest.root.children[n]?.digest ?? '';
      expect(missingFrom(await at(child), await from(child))).toEqual([]);
    }
    // What refers to the index itself is there; what refers to the others is not.
    expect(target.referrers(path, forest.root.digest)).toHaveLength(3);
    for (const n of [2, 5]) expect(target.referrers(path, forest.root.children[n]?.digest ?? '')).toEqual([]);
    const [s390x] = forest.root.children.slice(2);
    const own = s390x && 'children' in s390x ? (s390x.children as { digest: string }[]) : [];
    const blobs = await Promise.all(
      own.map(
        async ({ digest }) =>
          (await fetch(`${target.url}/v2/${path}/blobs/${digest}`, { method: 'HEAD' })).status,
      ),
    );
    // Its config and its own layer are not there; it shares the other.
    expect(blobs.sort()).toEqual([200, 404, 404]);
  });

  it('those are what "there already" means, and one that is lost is brought again', async () => {
    const { path, forest } = await showcase();
    await mirrored(path);
    const before = writes();
    expect(await mirrored(path)).toMatchObject({ cached: true });
    expect(writes()).toBe(before);
    const arm64 = forest.root.children[1]?.digest ?? '';
    const gone = await fetch(`${world.target.url}/v2/${path}/manifests/${arm64}`, { method: 'DELETE' });
    expect(gone.status).toBe(202);
    expect(await mirrored(path)).toMatchObject({ cached: false });
    expect(await childrenThere(path, forest)).toEqual([0, 1, 3, 4]);
  });

  it('the rest comes for whoever asks for everything later', async () => {
    const { path, forest } = await showcase();
    await mirrored(path);
    expect(await mirrored(path, greedy)).toMatchObject({ cached: false });
    const source = await takeInventory(world.source.url, path, forest.root.digest, 'fallback');
    const there = await takeInventory(target.url, path, forest.root.digest, 'api');
    expect(missingFrom(there, source)).toEqual([]);
    expect(countOf(there)).toEqual(countOf(source));
    // All of it has all that is chosen.
    expect(await mirrored(path)).toMatchObject({ cached: true });
    expect(await mirrored(path, greedy)).toMatchObject({ cached: true });
  });

  it('a registry that takes no index with missing children is told of, and no tag is set', async () => {
    const { path, forest } = await showcase();
    const { body } = await world.submit(`${world.source.host}/${path}:v1`, world.target.host);
    const failure = body.requestId ? ((await failureOf(body)) ?? body) : body;
    expect(failure).toMatchObject({ code: 'sparse_index_refused', side: 'target' });
    expect(failure.message).toContain(world.target.host);
    for (const reference of ['v1', forest.root.digest])
      expect((await head(path, reference, world.target.url)).status).toBe(404);
  });

  it('a platform that the image has not is told of, with those that it has', async () => {
    const path = `chosen/${++runs}`;
    const plan: ForestPlan = {
      root: {
        ...showcasePlan.root,
        kind: 'index',
        docker: false,
        images: [{ kind: 'image', docker: false, layers: [1], foreign: 'none' }],
        attested: true,
        twice: false,
      },
      referrers: [],
      cosign: [],
    };
    await pushForest(world.source.url, path, 'v1', growForest(plan, path), 'fallback');
    const { body } = await world.submit(`${world.source.host}/${path}:v1`, target.host);
    const failure = body.requestId ? await failureOf(body) : body;
    expect(failure).toMatchObject({ code: 'platform_unknown', side: 'source' });
    expect(failure?.message).toContain('has no linux/arm64; it has linux/amd64');
    expect((await head(path, 'v1')).status).toBe(404);
  });

  it('an image without an index comes where its own platform is wanted, and else is refused', async () => {
    const single = async (architecture: string) => {
      const path = `chosen/${++runs}`;
      await push(
        world.source.url,
        path,
        'v1',
        manifestOf([noiseLayer(++runs, 3000)], { platform: { os: 'linux', architecture } }),
      );
      const { body } = await world.submit(`${world.source.host}/${path}:v1`, target.host);
      return body.requestId ? ((await failureOf(body)) ?? 'arrived') : body;
    };
    expect(await single('riscv64')).toMatchObject({ code: 'platform_unknown', side: 'source' });
    // One of those that are wanted is enough: an image has one platform.
    expect(await single('arm64')).toBe('arrived');
  });

  it('what is wanted may be in an index inside the index', async () => {
    const path = `chosen/${++runs}`;
    const image = (layer: number): ImagePlan => ({
      kind: 'image',
      docker: false,
      layers: [layer],
      foreign: 'none',
    });
    const plan: ForestPlan = {
      root: {
        kind: 'index',
        docker: false,
        images: [image(1)],
        attested: false,
        twice: false,
        nested: {
          kind: 'index',
          docker: false,
          images: [image(2), image(3), image(4)],
          attested: false,
          twice: false,
        },
      },
      referrers: [{ of: 0, shape: 'artifact', type: 0, annotated: false, layers: [5] }],
      cosign: [],
    };
    const forest = growForest(plan, path);
    await pushForest(world.source.url, path, 'v1', forest, 'fallback');
    await mirrored(path);
    const nested = forest.root.children[1] as Forest['root'];
    const there = await Promise.all(
      nested.children.map(async ({ digest }) => (await head(path, digest)).status),
    );
    expect(there).toEqual([200, 200, 404]);
    expect(target.referrers(path, forest.root.digest)).toHaveLength(1);
  });
});

describe('different selections at once', () => {
  const ask = async (path: string, choice: Record<string, unknown>) =>
    greedy.call<{ outcomes: { requestId?: string; error?: unknown }[] }>(
      'POST',
      '/v1/mirrors',
      { images: [`${world.source.host}/${path}:v1`], to: target.host, ...choice },
      { authorization: `Bearer ${greedy.service.key}` },
    );

  it('are all done, by one service', async () => {
    const { path, forest } = await showcase();
    const choices = [
      { platforms: ['linux/amd64'], referrers: 'none' },
      { platforms: ['linux/s390x'] },
      { platforms: ['linux/arm64/v8'], referrers: 'none' },
    ];
    const answers = await Promise.all(choices.map((choice) => ask(path, choice)));
    for (const { status, body } of answers) {
      expect(status, JSON.stringify(body)).toBeLessThan(300);
      expect(await greedy.finished(body.outcomes[0]?.requestId ?? '')).toMatchObject({ succeeded: true });
    }
    // Without referrers two have come, and one with what refers to it; attestations belong to each.
    expect(await childrenThere(path, forest)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(target.referrers(path, forest.root.children[2]?.digest ?? '')).toHaveLength(1);
    expect(target.referrers(path, forest.root.children[0]?.digest ?? '')).toEqual([]);
  });

  it('are all done, by two services', async () => {
    const { path, forest } = await showcase();
    await Promise.all([mirrored(path), mirrored(path, greedy)]);
    const source = await takeInventory(world.source.url, path, forest.root.digest, 'fallback');
    const there = await takeInventory(target.url, path, forest.root.digest, 'api');
    expect(missingFrom(there, source)).toEqual([]);
  });
});

interface Failure {
  code: string;
  side?: string;
  message: string;
}

/** Why a mirror failed, from its record; undefined when it did not. */
async function failureOf(answer: ContainerAnswer): Promise<Failure | undefined> {
  const { succeeded } = await world.finished(answer.requestId);
  if (succeeded) return undefined;
  const { body } = await world.call<{ failure: Failure }>('GET', `/v1/mirrors/${answer.buildId}`, undefined, {
    authorization: `Bearer ${world.service.key}`,
  });
  return body.failure;
}
