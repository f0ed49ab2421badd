import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newSigner, pushCosignSignature } from '../fixtures/cosign.ts';
import { countGoodSignatures } from '../fixtures/cosign-check.ts';
import { addToFallback, fallbackTag, type Forest, growForest, pushForest } from '../fixtures/forest.ts';
import { manifestOf, noiseLayer, platformsIndex, push } from '../fixtures/image.ts';
import { missingFrom, takeInventory } from '../fixtures/inventory.ts';
import { growShowcase, showcasePlan } from '../fixtures/showcase.ts';
import { forward, startStandIn } from '../fixtures/stand-in.ts';
import { createWorld, type World } from '../fixtures/world.ts';

/** Neither of its registries lists referrers by itself: indexes under tags, which others may write too. */
let world: World;
beforeAll(async () => {
  world = await createWorld({ settings: 'freshness: 0\nretry: { tries: 2, firstPause: 0.05 }\n' });
});
afterAll(() => world.stop());

let runs = 0;
const newPath = (name: string) => `${name}/${++runs}`;

/** Mirrors and waits; it must succeed. */
async function mirrored(from: { host: string }, path: string, to: { host: string }, which = world) {
  const { status, body } = await which.submit(`${from.host}/${path}:v1`, to.host);
  expect(status, JSON.stringify(body)).toBe(200);
  expect(await which.finished(body.requestId)).toMatchObject({ succeeded: true });
  return body;
}

const inventory = (at: { url: string }, path: string, { root }: Forest) =>
  takeInventory(at.url, path, root.digest, 'fallback');

/** Everything that the source has is at the target, and is listed there as the specification says. */
async function expectWhole(path: string, forest: Forest) {
  const after = await inventory(world.target, path, forest);
  expect(missingFrom(after, await inventory(world.source, path, forest))).toEqual([]);
  expect(after.wrong).toEqual([]);
  return after;
}

describe('what refers to an image at the target already', () => {
  it('stays in the index under the fallback tag', async () => {
    const path = newPath('theirs');
    const forest = growShowcase(path);
    const image = { ...forest, referrers: [], tags: [] };
    await pushForest(world.source.url, path, 'v1', forest, 'fallback');
    await pushForest(world.target.url, path, 'v1', image, 'fallback');
    const own = manifestOf([noiseLayer(++runs, 500)], {
      subject: forest.root,
      artifactType: 'application/x.scan-of-the-target',
    });
    await push(world.target.url, path, undefined, own);
    await addToFallback(world.target.url, path, forest.root.digest, [own]);
    await mirrored(world.source, path, world.target);
    const after = await expectWhole(path, forest);
    expect(after.manifests).toContain(own.digest);
  });

  it.each([
    ['the fallback tag, which is no index', '', manifestOf([noiseLayer(1, 500)])],
    ["cosign's tag, which is no list of signatures", '.sig', platformsIndex(1)],
  ])('is no reason to overwrite %s', async (_, suffix, other) => {
    const path = newPath('taken');
    const forest = growShowcase(path);
    await pushForest(world.source.url, path, 'v1', forest, 'fallback');
    const tag = `${fallbackTag(forest.root.digest)}${suffix}`;
    if (suffix) await pushCosignSignature(world.source.url, path, forest.root.digest, newSigner(), 'tag');
    const squatter = await push(world.target.url, path, tag, other);
    const { body } = await world.submit(`${world.source.host}/${path}:v1`, world.target.host);
    const end = await world.finished(body.requestId);
    expect(end).toMatchObject({ succeeded: false });
    expect(end.reason).toContain(tag);
    const held = await fetch(`${world.target.url}/v2/${path}/manifests/${tag}`, {
      method: 'HEAD',
      headers: { accept: other.mediaType },
    });
    expect(held.headers.get('docker-content-digest')).toBe(squatter.digest);
  });

  it("stays among the signatures under cosign's tag", async () => {
    const path = newPath('signed');
    const [theirs, ours] = [newSigner(), newSigner()];
    const image = platformsIndex(++runs);
    const { digest } = await push(world.source.url, path, 'v1', image);
    await push(world.target.url, path, 'v1', image);
    await pushCosignSignature(world.source.url, path, digest, theirs, 'tag');
    await pushCosignSignature(world.target.url, path, digest, ours, 'tag');
    await mirrored(world.source, path, world.target);
    const good = (signer: typeof ours) =>
      countGoodSignatures(world.target.url, path, digest, signer.publicKeyPem, 'fallback');
    expect(await good(ours)).toMatchObject({ tag: 1 });
    expect(await good(theirs)).toMatchObject({ tag: 1 });
    expect(await mirrored(world.source, path, world.target)).toMatchObject({ cached: true });
  });
});

describe('a target that is far away', () => {
  it('has its indexes and tags changed all the same', async () => {
    const pass = forward(world.target.url);
    const far = await startStandIn(async (seen, response) => {
      if (seen.path.includes('/manifests/sha256-')) await sleep(500);
      await pass(seen, response);
    });
    try {
      const path = newPath('far');
      const plan = { ...showcasePlan, referrers: showcasePlan.referrers.slice(0, 1), cosign: [] };
      const forest = growForest(plan, path);
      await pushForest(world.source.url, path, 'v1', forest, 'fallback');
      await mirrored(world.source, path, far);
      await expectWhole(path, forest);
    } finally {
      await far.stop();
    }
  });
});

describe('two services that mirror into one repository', () => {
  it('lose none of the signatures that each of them brings', { timeout: 180_000 }, async () => {
    const other = await createWorld({ settings: 'freshness: 0\n' });
    try {
      const path = newPath('two');
      const image = { ...growForest({ ...showcasePlan, referrers: [], cosign: [] }, path) };
      const subject = image.root;
      const sign = async (url: string, artifactType: string) => {
        const signature = manifestOf([noiseLayer(++runs, 200)], { subject, artifactType });
        await push(url, path, undefined, signature);
        await addToFallback(url, path, subject.digest, [signature]);
        return signature.digest;
      };
      const ends = [world, other];
      for (const { source } of ends) await pushForest(source.url, path, 'v1', image, 'fallback');
      const wanted = new Set<string>();
      for (let round = 0; round < 6; round++) {
        for (const [n, { source }] of ends.entries())
          wanted.add(await sign(source.url, `application/x.of-${n}`));
        await Promise.all(ends.map((end) => mirrored(end.source, path, world.target, end)));
        const { manifests, wrong } = await inventory(world.target, path, image);
        expect(
          [...wanted].filter((digest) => !manifests.has(digest)),
          `round ${round}`,
        ).toEqual([]);
        expect(wrong).toEqual([]);
      }
    } finally {
      await other.stop();
    }
  });
});
