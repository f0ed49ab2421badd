import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { runDray } from '../fixtures/command.ts';
import { growForest, pushForest } from '../fixtures/forest.ts';
import { type Gate, type Rule, startGate } from '../fixtures/gate.ts';
import { eightPlatforms, oci, platformsIndex, push, type Pushed } from '../fixtures/image.ts';
import { showcasePlan } from '../fixtures/showcase.ts';
import { createWorld, type World } from '../fixtures/world.ts';

const levels = ['manifests', 'blobs', 'full'] as const;
type Level = (typeof levels)[number];

/** A service for each level, all between the same registries. */
let worlds: Record<Level, World>;
let world: World;
/** The target behind a proxy that serves other things than were pushed. */
let gate: Gate;
let rules: Rule[] = [];
beforeAll(async () => {
  const [manifests, blobs, full] = await Promise.all(
    levels.map((level) =>
      createWorld({
        settings: `freshness: 0\nretry: { tries: 2, firstPause: 0.05 }\nverify: ${level}\n`,
        registries: { foreignLayers: true },
      }),
    ),
  );
  worlds = { manifests, blobs, full } as Record<Level, World>;
  world = worlds.blobs;
  gate = await startGate(world.target.host);
});
afterEach(() => {
  for (const rule of rules) rule.release();
  rules = [];
});
afterAll(async () => {
  await gate.stop();
  await Promise.all(Object.values(worlds).map((each) => each.stop()));
});

let runs = 0;
async function image(): Promise<{ path: string; image: Pushed }> {
  const path = `looked/${++runs}`;
  const index = platformsIndex(++runs, { platforms: eightPlatforms.slice(0, 2), size: 4000 });
  return { path, image: await push(world.source.url, path, 'v1', index) };
}

/** Puts something else in the place of what a path names. */
const instead = (method: string, what: string, status: number, headers = {}, body = '') =>
  void rules.push(
    gate.add(new RegExp(`^${method} /v2/looked/.*/${what}$`), { kind: 'answer', status, headers, body }),
  );

/** What became of it: done, or why not. */
async function outcome(path: string, level: Level): Promise<string> {
  const which = worlds[level];
  const { status, body } = await which.submit(`${world.source.host}/${path}:v1`, gate.host);
  expect(status, JSON.stringify(body)).toBe(200);
  const { succeeded } = await which.finished(body.requestId);
  if (succeeded) return 'done';
  const { body: record } = await which.call<{ failure: { code: string; side: string } }>(
    'GET',
    `/v1/mirrors/${body.buildId}`,
    undefined,
    { authorization: `Bearer ${which.service.key}` },
  );
  return `${record.failure.code} at ${record.failure.side}`;
}

const tagged = async (path: string) =>
  (await fetch(`${world.target.url}/v2/${path}/manifests/v1`, { headers: { accept: oci.index } })).status ===
  200;

const layerOf = ({ contents }: Pushed, n = 0) =>
  [...contents.values()].filter(({ mediaType }) => mediaType === oci.layer)[n] as Pushed;
const childOf = ({ children }: Pushed) => children[0] as Pushed;

/** What a registry did after it had accepted everything, and the levels that see it. */
const faults: [string, Record<Level, string>, (image: Pushed) => void][] = [
  [
    'serves a manifest with other bytes',
    {
      manifests: 'digest_mismatch at target',
      blobs: 'digest_mismatch at target',
      full: 'digest_mismatch at target',
    },
    (one) => {
      const { digest, bytes } = childOf(one);
      const other = Buffer.from(bytes).toString('utf8').replace('"schemaVersion":2', '"schemaVersion": 2');
      instead('GET', `manifests/${digest}`, 200, { 'content-type': oci.manifest }, other);
    },
  ],
  [
    'has lost a manifest',
    {
      manifests: 'registry_unavailable at target',
      blobs: 'registry_unavailable at target',
      full: 'registry_unavailable at target',
    },
    (one) => instead('GET', `manifests/${childOf(one).digest}`, 404),
  ],
  [
    'has lost a blob',
    { manifests: 'done', blobs: 'registry_unavailable at target', full: 'registry_unavailable at target' },
    (one) => instead('HEAD', `blobs/${layerOf(one).digest}`, 404),
  ],
  [
    'serves a blob with other bytes of the same size',
    { manifests: 'done', blobs: 'done', full: 'digest_mismatch at target' },
    (one) => {
      const { digest, bytes } = layerOf(one);
      instead('GET', `blobs/${digest}`, 200, {}, 'x'.repeat(bytes.length));
    },
  ],
];

/** Skopeo sees this by itself: it would not push what is there in another size. */
const cut: (typeof faults)[number] = [
  'has cut a blob',
  { manifests: 'done', blobs: 'size', full: 'size' },
  (one) => instead('HEAD', `blobs/${layerOf(one).digest}`, 200, { 'content-length': '12' }),
];

describe.each(faults)('a target that %s', (_, expected, fail) => {
  it.each(levels)('with the level %s', async (level) => {
    const { path, image: one } = await image();
    fail(one);
    expect(await outcome(path, level)).toBe(expected[level]);
    // A tag never points at what was not found to be right.
    expect(await tagged(path)).toBe(expected[level] === 'done');
  });
});

describe('dray verify', () => {
  const verify = async (image: string, ...more: string[]) => {
    const { code, stdout, stderr } = await runDray(['verify', image, '--at', gate.host, '--json', ...more], {
      env: { HOME: world.dataDir, DRAY_CONFIG: join(world.dataDir, 'dray.yaml') },
    });
    expect(stderr).toBe('');
    return {
      code,
      found: JSON.parse(stdout) as { ok: boolean; faults: string[]; level: string; foreign: string[] },
    };
  };

  it('finds all there, at each level, and counts it', async () => {
    const { path, image: one } = await image();
    expect(await outcome(path, 'full')).toBe('done');
    for (const level of levels) {
      const { code, found } = await verify(`${world.source.host}/${path}:v1`, '--level', level);
      expect(found).toMatchObject({
        ok: true,
        level,
        digest: one.digest,
        manifests: 3,
        blobs: 5,
        faults: [],
      });
      expect(code).toBe(0);
    }
  });

  it.each([...faults, cut])('finds that a target %s, as deep as it looks', async (_, expected, fail) => {
    const { path, image: one } = await image();
    expect(await outcome(path, 'full')).toBe('done');
    fail(one);
    for (const level of levels) {
      const { code, found } = await verify(`${world.source.host}/${path}:v1`, '--level', level);
      expect(found.ok, level).toBe(expected[level] === 'done');
      expect(code).toBe(found.ok ? 0 : 1);
    }
  });

  it('looks at a blob that was deleted for real, and a mirror brings it again', async () => {
    const { path, image: one } = await image();
    expect(await outcome(path, 'blobs')).toBe('done');
    const layer = layerOf(one);
    const gone = await fetch(`${world.target.url}/v2/${path}/blobs/${layer.digest}`, { method: 'DELETE' });
    expect(gone.status).toBe(202);
    const { found } = await verify(`${world.source.host}/${path}:v1`);
    expect(found.faults.join()).toContain(layer.digest);
    expect(await outcome(path, 'blobs')).toBe('done');
    expect((await verify(`${world.source.host}/${path}:v1`, '--level', 'full')).found.ok).toBe(true);
  });

  it('misses a referrer that was deleted, and one whose contents were; a mirror brings them again', async () => {
    const path = `looked/${++runs}`;
    const forest = growForest(showcasePlan, path);
    await pushForest(world.source.url, path, 'v1', forest, 'fallback');
    expect(await outcome(path, 'blobs')).toBe('done');
    const [contents, signature] = forest.referrers.map(({ manifest }) => manifest);
    const remove = async (what: string) => {
      const gone = await fetch(`${world.target.url}/v2/${path}/${what}`, { method: 'DELETE' });
      expect(gone.status).toBe(202);
    };
    for (const what of [
      `manifests/${signature?.digest}`,
      `blobs/${contents?.children.at(-1)?.digest}`,
      `blobs/${forest.tags[0]?.manifest.children.at(-1)?.digest}`,
    ]) {
      await remove(what);
      const { found } = await verify(`${world.source.host}/${path}:v1`);
      expect(found.ok, what).toBe(false);
      expect(await outcome(path, 'blobs')).toBe('done');
      expect(await verify(`${world.source.host}/${path}:v1`), what).toMatchObject({ found: { ok: true } });
    }
  });

  it('needs no source where a digest is named and nothing else is compared', async () => {
    const { path, image: one } = await image();
    expect(await outcome(path, 'blobs')).toBe('done');
    const name = `127.0.0.1:9/${path}@${one.digest}`;
    expect(await verify(name, '--referrers', 'none')).toMatchObject({ code: 0, found: { ok: true } });
  });
});

describe('a layer that lives elsewhere', () => {
  it('is told of by the mirror, in its log and by dray verify, and is no fault', async () => {
    const path = `looked/${++runs}`;
    const forest = growForest(
      { root: { kind: 'image', docker: true, layers: [1], foreign: 'own' }, referrers: [], cosign: [] },
      path,
    );
    const [foreign = ''] = forest.foreign;
    await pushForest(world.source.url, path, 'v1', forest, 'fallback');
    const { body } = await world.submit(`${world.source.host}/${path}:v1`, world.target.host);
    expect(await world.finished(body.requestId)).toMatchObject({ succeeded: true });
    const authorization = `Bearer ${world.service.key}`;
    const log = await world.call<string>('GET', `/v1alpha1/mirrors/${body.buildId}/logs`, undefined, {
      authorization,
    });
    expect(JSON.stringify(log.body)).toContain(`${foreign} is foreign`);
    const record = await world.call('GET', `/v1/mirrors/${body.buildId}`, undefined, { authorization });
    expect(record.body).toMatchObject({ arrival: { foreign: [foreign], manifests: 1, level: 'blobs' } });
    const { stdout } = await runDray(
      ['verify', `${world.source.host}/${path}:v1`, '--at', world.target.host, '--level', 'full'],
      { env: { HOME: world.dataDir } },
    );
    expect(stdout).toContain(foreign);
  });
});
