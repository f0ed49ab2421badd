import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Forest, forestPlan, growForest, type Listing, pushForest } from '../fixtures/forest.ts';
import { missingFrom, takeInventory } from '../fixtures/inventory.ts';
import { type Manner, type ReferrersApi, refusals, startReferrersApi } from '../fixtures/referrers-api.ts';
import { createWorld, type World } from '../fixtures/world.ts';

const { FOREST_SEED = '1', FOREST_RUNS, FOREST_PATH } = process.env;
/**
 * Other forests than those of every run: `FOREST_SEED=7 FOREST_RUNS=500 npm test -- test/e2e/forest.test.ts`; and one of
 * them again by the path that a failure names, in FOREST_PATH.
 */
const options = {
  seed: Number(FOREST_SEED),
  numRuns: Number(FOREST_RUNS ?? 25),
  ...(FOREST_PATH !== undefined && { path: FOREST_PATH }),
  // Milliseconds after which no other forest is begun.
  ...(FOREST_RUNS === undefined && { interruptAfterTimeLimit: 30_000 }),
};

let world: World;
let fronts: { source: ReferrersApi; target: ReferrersApi };
beforeAll(async () => {
  world = await createWorld({
    settings: 'freshness: 0\nretry: { tries: 2, firstPause: 0.05 }\n',
    registries: { foreignLayers: true },
  });
  const [source, target] = await Promise.all([
    startReferrersApi(world.source.host),
    startReferrersApi(world.target.host),
  ]);
  fronts = { source, target };
});
afterAll(async () => {
  await Promise.all([fronts.source.stop(), fronts.target.stop()]);
  await world.stop();
});

/** A registry as it may be met. */
interface End {
  listing: Listing;
  manner: Manner;
}

const end: fc.Arbitrary<End> = fc.oneof(
  fc.record({
    listing: fc.constant('api' as const),
    manner: fc.record({
      pageSize: fc.constantFrom(1, 2, Infinity),
      filters: fc.boolean(),
      acknowledges: fc.boolean(),
      typedBy: fc.constantFrom('spec' as const, 'config' as const),
      knowsEmpty: fc.boolean(),
    }),
  }),
  fc.record({
    listing: fc.constant('fallback' as const),
    manner: fc.constantFrom(...Object.values(refusals)).map((refusal) => ({ refusal })),
  }),
);

let runs = 0;
/** What became of mirrors whose target has lost something: a test in which nothing was lost would prove nothing. */
const ends = { done: 0, failed: 0 };

async function mirror(
  path: string,
): Promise<{ succeeded: boolean; failure?: { code: string; message: string } }> {
  const { status, body } = await world.submit(`${fronts.source.host}/${path}:v1`, fronts.target.host);
  if (status !== 200)
    return { succeeded: false, failure: { code: body.code ?? '', message: body.message ?? '' } };
  const { succeeded = false } = await world.finished(body.requestId);
  if (succeeded || body.buildId === undefined) return { succeeded };
  const authorization = `Bearer ${world.service.key}`;
  const { body: record } = await world.call<{ failure?: { code: string; message: string } }>(
    'GET',
    `/v1/mirrors/${body.buildId}`,
    undefined,
    { authorization },
  );
  return { succeeded, ...(record.failure && { failure: record.failure }) };
}

/** What the target lacks of what the source has; both are read as the specification says. */
async function lacking(path: string, { root }: Forest, source: Listing, target: Listing): Promise<string[]> {
  fronts.source.behave({});
  fronts.target.behave({});
  const [wanted, there] = await Promise.all([
    takeInventory(fronts.source.url, path, root.digest, source),
    takeInventory(fronts.target.url, path, root.digest, target),
  ]);
  return [...missingFrom(there, wanted), ...there.wrong];
}

it('any tree of manifests and what refers to them arrives whole', { timeout: 3_600_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(forestPlan(), end, end, async (plan, source, target) => {
      const path = `any/${++runs}`;
      const forest = growForest(plan, path);
      fronts.source.behave({});
      await pushForest(fronts.source.url, path, 'v1', forest, source.listing);
      fronts.source.behave(source.manner);
      fronts.target.behave(target.manner);
      expect(await mirror(path)).toEqual({ succeeded: true });
      expect(await lacking(path, forest, source.listing, target.listing)).toEqual([]);
      // What is whole is known to be.
      fronts.source.behave(source.manner);
      fronts.target.behave(target.manner);
      const { body } = await world.submit(`${fronts.source.host}/${path}:v1`, fronts.target.host);
      expect(body).toMatchObject({ cached: true });
    }),
    options,
  );
});

it('and is never said to be done when something was lost', { timeout: 3_600_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(forestPlan(), end, end, fc.nat(1000), async (plan, source, target, n) => {
      const path = `lost/${++runs}`;
      const forest = growForest(plan, path);
      fronts.source.behave({});
      await pushForest(fronts.source.url, path, 'v1', forest, source.listing);
      const { manifests, blobs } = await takeInventory(
        fronts.source.url,
        path,
        forest.root.digest,
        source.listing,
      );
      const losable = [...manifests, ...blobs];
      const lost = losable[n % losable.length] as string;
      fronts.source.behave(source.manner);
      // In the path of a manifest, or as the parameter that ends an upload.
      fronts.target.behave({ ...target.manner, loses: new RegExp(lost.replace(':', '(?::|%3A)'), 'i') });
      const { succeeded, failure } = await mirror(path);
      // What is in the tree under another name too, or was not wanted, may be there all the same.
      ends[succeeded ? 'done' : 'failed']++;
      if (succeeded) expect(await lacking(path, forest, source.listing, target.listing)).toEqual([]);
      else expect(`${failure?.code}: ${failure?.message}`).toMatch(/^[a-z_]+: \S/);
    }),
    options,
  );
  expect(ends.failed).toBeGreaterThan(ends.done);
});
