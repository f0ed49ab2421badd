import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { type ForestPlan, growForest, type Listing, pushForest } from '../fixtures/forest.ts';
import { oci } from '../fixtures/image.ts';
import { countOf, missingFrom, takeInventory } from '../fixtures/inventory.ts';
import { startRegistry } from '../fixtures/registry.ts';
import { showcasePlan } from '../fixtures/showcase.ts';
import { type Peer, startDistribution, startOlareg, startReferrers } from './registries.ts';
import { settled, startDray, submit } from './service.ts';

const { go, olareg } = inject('tools');

interface Make {
  name: string;
  listing: Listing;
  /** Whether it takes an index whose children are missing. */
  sparse: boolean;
  start: () => Promise<Peer>;
}

/** Every make of registry that there is here, with and without the referrers API. */
const makes: Make[] = [
  { name: 'docker-registry 2.8', listing: 'fallback', sparse: false, start: startRegistry },
  ...(go
    ? ([
        {
          name: 'go-containerregistry',
          listing: 'api',
          sparse: false,
          start: () => startReferrers(go.referrers),
        },
        {
          name: 'distribution 3',
          listing: 'fallback',
          sparse: false,
          start: () => startDistribution(go.registry),
        },
        {
          name: 'distribution 3, sparse indexes',
          listing: 'fallback',
          sparse: true,
          start: () => startDistribution(go.registry, { sparse: true }),
        },
      ] satisfies Make[])
    : []),
  ...(olareg
    ? ([
        { name: 'olareg', listing: 'api', sparse: false, start: () => startOlareg(olareg) },
        {
          name: 'olareg, sparse indexes',
          listing: 'api',
          sparse: true,
          start: () => startOlareg(olareg, { sparse: true }),
        },
      ] satisfies Make[])
    : []),
];
const pairs = makes
  .filter(({ sparse }) => !sparse)
  .flatMap((source) => makes.filter(({ sparse }) => !sparse).map((target) => ({ source, target })));

// A file without any suite is an error.
if (makes.length < 2) it.skip('between registries with and without the referrers API');

describe.skipIf(makes.length < 2)('between registries with and without the referrers API', () => {
  const sources = new Map<string, Peer>();
  const targets = new Map<string, Peer>();
  let service: Awaited<ReturnType<typeof startDray>>;
  let chosen: Awaited<ReturnType<typeof startDray>>;
  beforeAll(async () => {
    [service, chosen] = await Promise.all([
      startDray({ freshness: 0 }),
      startDray({ freshness: 0, platforms: ['linux/amd64'] }),
    ]);
    for (const { name, sparse, start } of makes) {
      if (!sparse) sources.set(name, await start());
      targets.set(name, await start());
    }
  });
  afterAll(async () => {
    await Promise.all([service.end(), chosen.end()]);
    await Promise.all([...sources.values(), ...targets.values()].map((peer) => peer.stop()));
    process.stdout.write(`${table(rows)}\n`);
  });

  const rows: string[][] = [];
  let runs = 0;

  it.each(pairs.map(({ source, target }) => [source.name, target.name, source, target] as const))(
    'everything that refers to an image comes from %s to %s',
    async (from, to, source, target) => {
      const [a, b] = [sources.get(from), targets.get(to)] as [Peer, Peer];
      const path = `whole/${++runs}`;
      const forest = growForest(showcasePlan, path);
      await pushForest(a.url, path, 'v1', forest, source.listing);
      const { buildId } = await submit(service.url, `${a.host}/${path}:v1`, b.host);
      expect((await settled(service.url, buildId)).last).toMatchObject({ state: 'done' });
      const wanted = await takeInventory(a.url, path, forest.root.digest, source.listing);
      const there = await takeInventory(b.url, path, forest.root.digest, target.listing);
      expect(missingFrom(there, wanted)).toEqual([]);
      // Indexes under tags are written by us; what a registry lists by itself is its own affair.
      if (target.listing === 'fallback') expect(there.wrong).toEqual([]);
      const again = await submit(service.url, `${a.host}/${path}:v1`, b.host);
      expect(again).toMatchObject({ cached: true });
      const { manifests, referrers, tags } = countOf(there);
      rows.push([from, to, `${manifests - referrers - tags}`, `${referrers}`, `${tags}`]);
    },
  );

  it.each(makes.map((target) => [target.name, target] as const))(
    'one platform comes to %s, or is refused with the reason',
    async (name, { listing, sparse }) => {
      const [a, b] = [sources.get('docker-registry 2.8'), targets.get(name)] as [Peer, Peer];
      const path = `chosen/${++runs}`;
      const forest = growForest(showcasePlan satisfies ForestPlan, path);
      await pushForest(a.url, path, 'v1', forest, 'fallback');
      const { buildId } = await submit(chosen.url, `${a.host}/${path}:v1`, b.host);
      const { last } = await settled(chosen.url, buildId);
      const tagged = await fetch(`${b.url}/v2/${path}/manifests/v1`, { headers: { accept: oci.index } });
      if (!sparse) {
        expect(last).toMatchObject({ state: 'failed', failure: { code: 'sparse_index_refused' } });
        expect(tagged.status).toBe(404);
        return;
      }
      expect(last).toMatchObject({ state: 'done' });
      expect(tagged.headers.get('docker-content-digest')).toBe(forest.root.digest);
      const amd64 = forest.root.children[0]?.digest ?? '';
      const wanted = await takeInventory(a.url, path, amd64, 'fallback');
      expect(missingFrom(await takeInventory(b.url, path, amd64, listing), wanted)).toEqual([]);
      // Who wants the rest later gets it.
      const rest = await submit(service.url, `${a.host}/${path}:v1`, b.host);
      expect((await settled(service.url, rest.buildId)).last).toMatchObject({ state: 'done' });
      const all = await takeInventory(a.url, path, forest.root.digest, 'fallback');
      expect(missingFrom(await takeInventory(b.url, path, forest.root.digest, listing), all)).toEqual([]);
    },
  );
});

function table(rows: string[][]): string {
  const head = ['from', 'to', 'manifests', 'referrers', 'cosign tags'];
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}
