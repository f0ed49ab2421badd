import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { newSigner, pushCosignSignature, type SignatureForm } from '../fixtures/cosign.ts';
import { countGoodSignatures } from '../fixtures/cosign-check.ts';
import { artifactTypes, type Forest, growForest, type Listing, pushForest } from '../fixtures/forest.ts';
import { type Content, platformsIndex, push } from '../fixtures/image.ts';
import { countOf, type Inventory, missingFrom, takeInventory } from '../fixtures/inventory.ts';
import { type ReferrersApi, redirectTo, refusals, startReferrersApi } from '../fixtures/referrers-api.ts';
import { growShowcase, showcasePlan } from '../fixtures/showcase.ts';
import { answer, type StandIn, startStandIn } from '../fixtures/stand-in.ts';
import { createWorld, type World } from '../fixtures/world.ts';

let world: World;
/** Each registry as one with the referrers API. */
let [sourceApi, targetApi]: ReferrersApi[] = [];
beforeAll(async () => {
  world = await createWorld({ settings: 'freshness: 0\nretry: { tries: 2, firstPause: 0.05 }\n' });
  sourceApi = await startReferrersApi(world.source.host, { pageSize: 2 });
  targetApi = await startReferrersApi(world.target.host, { pageSize: 2 });
});
afterEach(() => {
  source('api').behave({ pageSize: 2 });
  target('api').behave({ pageSize: 2 });
});
afterAll(async () => {
  await Promise.all([sourceApi?.stop(), targetApi?.stop()]);
  await world.stop();
});

function source(listing: 'api'): ReferrersApi;
function source(listing: Listing): ReferrersApi | World['source'];
function source(listing: Listing) {
  return listing === 'api' ? (sourceApi as ReferrersApi) : world.source;
}
function target(listing: 'api'): ReferrersApi;
function target(listing: Listing): ReferrersApi | World['target'];
function target(listing: Listing) {
  return listing === 'api' ? (targetApi as ReferrersApi) : world.target;
}

/** Mirrors and waits; it must succeed. */
async function mirrored(
  from: { host: string },
  path: string,
  to: { host: string },
  which = world,
  tag = 'v1',
) {
  const { status, body } = await which.submit(`${from.host}/${path}:${tag}`, to.host);
  expect(status, JSON.stringify(body)).toBe(200);
  expect(await which.finished(body.requestId)).toMatchObject({ succeeded: true });
  return body;
}

const inventory = (at: { url: string }, path: string, { root }: Forest, listing: Listing) =>
  takeInventory(at.url, path, root.digest, listing);

/** Everything that the source has is at the target, and is listed there as the specification says. */
async function expectWhole(
  path: string,
  forest: Forest,
  from: Listing,
  to: Listing,
): Promise<{ before: Inventory; after: Inventory }> {
  const before = await inventory(source(from), path, forest, from);
  const after = await inventory(target(to), path, forest, to);
  expect(missingFrom(after, before)).toEqual([]);
  expect(after.wrong).toEqual([]);
  return { before, after };
}

let runs = 0;
const newPath = (name: string) => `${name}/${++runs}`;
const listings: Listing[] = ['api', 'fallback'];
const pairs = listings.flatMap((from) => listings.map((to) => ({ from, to })));

describe('what refers to an image', () => {
  it.each(pairs)('arrives from $from at $to', async ({ from, to }) => {
    const path = newPath('whole');
    const forest = growShowcase(path);
    await pushForest(source(from).url, path, 'v1', forest, from);
    await mirrored(source(from), path, target(to));
    const { before, after } = await expectWhole(path, forest, from, to);
    // The image is 7 of the manifests, and one is in an index that refers to it.
    expect(countOf(before)).toEqual({ manifests: 7 + 1 + 9 + 5, blobs: 29, referrers: 9, tags: 5 });
    expect(countOf(after)).toEqual(countOf(before));
  });

  it.each(Object.entries(refusals))('is found by its tag at a source that is %s', async (_, refusal) => {
    const path = newPath('refusing');
    const forest = growShowcase(path);
    await pushForest(world.source.url, path, 'v1', forest, 'fallback');
    source('api').behave({ refusal });
    await mirrored(source('api'), path, world.target);
    await expectWhole(path, forest, 'fallback', 'fallback');
  });

  it.each(Object.entries(refusals))('is listed under its tag at a target that is %s', async (_, refusal) => {
    const path = newPath('refusing');
    const forest = growShowcase(path);
    await pushForest(world.source.url, path, 'v1', forest, 'fallback');
    target('api').behave({ refusal });
    await mirrored(world.source, path, target('api'));
    await expectWhole(path, forest, 'fallback', 'fallback');
  });

  it('arrives though sixty share their blobs, each of which crosses once', async () => {
    const path = newPath('shared');
    const referrers = Array.from({ length: 60 }, (_, n) => ({
      ...{ of: 0, shape: 'artifact' as const, type: n % 3, annotated: false, layers: [6, 7] },
    }));
    const forest = growForest({ ...showcasePlan, referrers, cosign: [] }, path);
    await pushForest(source('api').url, path, 'v1', forest, 'api');
    const calls = source('api').calls().length;
    await mirrored(source('api'), path, world.target);
    const [, ...layers] = forest.referrers[0]?.manifest.children ?? [];
    const reads = layers.map(
      ({ digest }) =>
        source('api')
          .calls()
          .slice(calls)
          .filter((call) => call === `GET /v2/${path}/blobs/${digest}`).length,
    );
    expect(reads).toEqual([1, 1]);
    await expectWhole(path, forest, 'api', 'fallback');
  });

  it('is found where the source leads whoever asks to a page of another host, which is not asked', async () => {
    const elsewhere: StandIn = await startStandIn((_, response) => answer(response, 200, '<html></html>'));
    const path = newPath('leading');
    const forest = growShowcase(path);
    await pushForest(world.source.url, path, 'v1', forest, 'fallback');
    source('api').behave({ refusal: redirectTo(`${elsewhere.url}/packages`) });
    await mirrored(source('api'), path, world.target);
    await expectWhole(path, forest, 'fallback', 'fallback');
    expect(elsewhere.seen.filter(({ headers }) => headers.authorization !== undefined)).toEqual([]);
    await elsewhere.stop();
  });

  it('arrives where a list names config types, no subject is acknowledged, and no empty repository known', async () => {
    const path = newPath('plain');
    const forest = growShowcase(path);
    const manner = { acknowledges: false, knowsEmpty: false, typedBy: 'config' } as const;
    source('api').behave(manner);
    target('api').behave(manner);
    await pushForest(source('api').url, path, 'v1', forest, 'api');
    await mirrored(source('api'), path, target('api'));
    source('api').behave({});
    target('api').behave({});
    await expectWhole(path, forest, 'api', 'api');
    // Whoever reads only the tag finds it as well.
    expect(
      missingFrom(
        await inventory(world.target, path, forest, 'fallback'),
        await inventory(source('api'), path, forest, 'api'),
      ),
    ).toEqual([]);
  });

  it.each([
    ['has pages without end', { pageSize: 1, loops: true }, 'protocol'],
    ['is not to be had at the moment', { refusal: { status: 503 } }, 'registry_unavailable'],
  ] as const)(
    'is not passed over when the list %s: the mirror fails with the reason',
    async (_, manner, code) => {
      const path = newPath('broken');
      await pushForest(source('api').url, path, 'v1', growShowcase(path), 'api');
      source('api').behave(manner);
      const { status, body } = await world.submit(`${source('api').host}/${path}:v1`, world.target.host);
      if (status === 200) {
        const end = await world.finished(body.requestId);
        expect(end).toMatchObject({ succeeded: false });
        expect(end.reason).toMatch(/refer/);
      } else expect(body).toMatchObject({ code, side: 'source' });
    },
  );
});

describe('of what refers to an image', () => {
  let some: World;
  let none: World;
  beforeAll(async () => {
    [some, none] = await Promise.all([
      createWorld({ settings: `freshness: 0\nreferrers: ['${artifactTypes[0]}']\n` }),
      createWorld({ settings: 'freshness: 0\nreferrers: none\n' }),
    ]);
  });
  afterAll(() => Promise.all([some.stop(), none.stop()]));

  it.each(pairs)('nothing comes from $from to $to with `none`', async ({ from, to }) => {
    const path = newPath('none');
    const forest = growShowcase(path);
    await pushForest(source(from).url, path, 'v1', forest, from);
    await mirrored(source(from), path, target(to), none);
    const after = await inventory(target(to), path, forest, to);
    expect(countOf(after)).toEqual({ manifests: 7, blobs: 11, referrers: 0, tags: 0 });
  });

  it.each([
    ...pairs.map((pair) => ({ ...pair, filters: true })),
    { from: 'api', to: 'api', filters: false } as const,
  ])('only the named types come from $from to $to (filter: $filters)', async ({ from, to, filters }) => {
    const path = newPath('some');
    const forest = growShowcase(path);
    source('api').behave({ pageSize: 1, filters });
    await pushForest(source(from).url, path, 'v1', forest, from);
    await mirrored(source(from), path, target(to), some);
    const after = await inventory(target(to), path, forest, to);
    const [contents] = forest.referrers;
    expect([...after.referrers]).toEqual([
      `${contents?.manifest.digest} → ${forest.root.digest} ${artifactTypes[0]}`,
    ]);
    expect([...after.tags]).toEqual([]);
  });
});

describe('what is attached later', () => {
  it.each(pairs)(
    'comes at the next request from $from to $to, and nothing of the image again',
    async ({ from, to }) => {
      const path = newPath('later');
      const forest = growShowcase(path);
      const image = { ...forest, referrers: [], tags: [] };
      await pushForest(source(from).url, path, 'v1', image, from);
      // A fallback source is read through a front too, so that its calls are seen.
      const front = source('api');
      if (from === 'fallback') front.behave({ refusal: refusals['Docker Hub before 2024 (404)'] });
      await mirrored(front, path, target(to));
      await pushForest(source(from).url, path, 'v1', forest, from);
      const calls = front.calls().length;
      await mirrored(front, path, target(to));
      const later = front.calls().slice(calls);
      front.behave({ pageSize: 2 });
      await expectWhole(path, forest, from, to);
      const own = new Set(
        image.root.children.flatMap(({ digest, ...child }) => [
          digest,
          ...('children' in child ? (child.children as Content[]).map((blob) => blob.digest) : []),
        ]),
      );
      const theirs = new Set(
        forest.referrers.flatMap(({ manifest }) => manifest.children.map(({ digest }) => digest)),
      );
      const again = later
        .filter((call) => call.startsWith('GET ') && !call.includes('/referrers/'))
        .map((call) => call.slice(call.lastIndexOf('/') + 1))
        .filter((name) => own.has(name) && !theirs.has(name));
      expect(again).toEqual([]);
    },
  );

  it('is there at once for whoever asks again, with no copy and nothing pushed', async () => {
    const path = newPath('again');
    const forest = growShowcase(path);
    await pushForest(world.source.url, path, 'v1', forest, 'fallback');
    await mirrored(world.source, path, world.target);
    const writes = () => world.target.log().match(/"(?:POST|PUT|PATCH) /g)?.length ?? 0;
    const before = writes();
    expect(await mirrored(world.source, path, world.target)).toMatchObject({ cached: true });
    expect(writes()).toBe(before);
  });
});

describe('a signed image', () => {
  const forms: SignatureForm[] = ['tag', 'referrer', 'bundle'];

  it.each(pairs)(
    'checks at the target alone, from $from to $to, in each form that cosign has',
    async ({ from, to }) => {
      const alone = await createWorld();
      const front = await startReferrersApi(alone.source.host);
      try {
        const path = newPath('checked');
        const signer = newSigner();
        const at = from === 'api' ? front : alone.source;
        const image = platformsIndex(++runs);
        const { digest } = await push(at.url, path, 'v1', image);
        const platform = image.children[0]?.digest ?? '';
        for (const form of forms)
          for (const signed of [digest, platform])
            await pushCosignSignature(at.url, path, signed, signer, form);
        await mirrored(at, path, target(to), alone);
        await front.stop();
        await alone.source.pause();
        for (const signed of [digest, platform]) {
          const count = (key: string) => countGoodSignatures(target(to).url, path, signed, key, to);
          expect(await count(signer.publicKeyPem)).toEqual({ tag: 1, referrer: 1, bundle: 1 });
          expect(await count(newSigner().publicKeyPem)).toEqual({ tag: 0, referrer: 0, bundle: 0 });
        }
      } finally {
        await alone.stop();
      }
    },
  );
});
