import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDray } from '../fixtures/command.ts';
import { startGate } from '../fixtures/gate.ts';
import { manifestOf, noiseLayer, platformsIndex, push } from '../fixtures/image.ts';
import { freePort } from '../fixtures/registry.ts';
import { createWorld, type World } from '../fixtures/world.ts';

interface Share {
  total: number;
  missing: number;
}
interface Plan {
  tag?: { sets: boolean; held?: string };
  target: string;
  digest: string;
  present: boolean;
  manifests: Share;
  blobs: Share;
  bytes: Share;
  referrers: Share;
  rate: { reads: number };
  rules: { rule: string; passed: boolean }[];
}
interface Body {
  plans: { image: string; to: string; plan?: Plan; error?: { code: string; side?: string } }[];
}

let world: World;
beforeAll(async () => {
  world = await createWorld({
    settings: `
freshness: 0
policy:
  - { name: small, sources: ['**/sized/**'], maxSize: 50kB }
  - { name: nothing denied, sources: ['**/denied/**'], deny: true }
`,
  });
});
afterAll(() => world.stop());

const bearer = () => ({ authorization: `Bearer ${world.service.key}` });
const plan = (body: unknown) => world.call<Body>('POST', '/v1/plan', body, bearer());
const image = (path: string) => `${world.source.host}/${path}:1`;
const size = (contents: { bytes: Uint8Array }[]) =>
  contents.reduce((sum, { bytes }) => sum + bytes.length, 0);
const sendTo = async (path: string, to = world.target.host) => {
  const { body } = await world.submit(image(path), to);
  await world.finished(body.requestId);
};

describe('POST /v1/plan', () => {
  it('says what would be moved, of an image of which nothing, a part and all is there', async () => {
    const [shared, own, other] = [noiseLayer(1, 9000), noiseLayer(2, 8000), noiseLayer(3, 7000)];
    await push(world.source.url, 'plan/a', '1', manifestOf([shared, own]));
    const b = manifestOf([shared, other]);
    const { digest } = await push(world.source.url, 'plan/b', '1', b);
    const ask = async () => (await plan({ images: [image('plan/b')], to: world.target.host })).body.plans[0];
    const [config] = b.children;
    const all = size(b.children);
    expect(await ask()).toEqual({
      image: image('plan/b'),
      to: world.target.host,
      plan: {
        target: `${world.target.host}/plan/b:1`,
        digest,
        wanted: { referrers: 'all' },
        tag: { sets: true },
        present: false,
        manifests: { total: 1, missing: 1 },
        blobs: { total: 3, missing: 3 },
        bytes: { total: all, missing: all },
        foreign: [],
        referrers: { total: 0, missing: 0 },
        rate: { reads: expect.any(Number) as number },
        rules: [],
      },
    });
    // A layer of it is in its repository at the target already.
    await push(world.target.url, 'plan/b', 'older', manifestOf([shared]));
    expect((await ask())?.plan).toMatchObject({
      present: false,
      blobs: { total: 3, missing: 2 },
      bytes: { total: all, missing: size([config, other].filter((content) => content !== undefined)) },
    });
    // Somebody else's image has the tag.
    const theirs = await push(world.target.url, 'plan/b', '1', manifestOf([shared]));
    expect((await ask())?.plan?.tag).toEqual({ sets: true, held: theirs.digest });
    await sendTo('plan/b');
    expect((await ask())?.plan).toMatchObject({
      ...{ present: true, rate: { reads: 0 }, tag: { sets: false } },
      ...{ manifests: { total: 1, missing: 0 }, blobs: { total: 3, missing: 0 } },
      bytes: { total: all, missing: 0 },
    });
  });

  it('starts and records nothing', async () => {
    await push(world.source.url, 'plan/nothing', '1', manifestOf([noiseLayer(4, 3000)]));
    await plan({ images: [image('plan/nothing')], to: world.target.host });
    const { body } = await world.call<{ mirrors: unknown[] }>(
      ...(['GET', `/v1/mirrors?source=${world.source.host}/plan/nothing`, undefined, bearer()] as const),
    );
    expect(body.mirrors).toEqual([]);
    expect((await fetch(`${world.target.url}/v2/plan/nothing/tags/list`)).status).toBe(404);
  });

  it('says what the rules say: with the numbers, but of names alone nothing is looked at', async () => {
    await push(world.source.url, 'plan/sized/good', '1', manifestOf([noiseLayer(5, 3000)]));
    await push(world.source.url, 'plan/sized/large', '1', manifestOf([noiseLayer(6, 90_000)]));
    const names = ['plan/sized/good', 'plan/sized/large', 'plan/denied/a'];
    const { body } = await plan({ images: names.map(image), to: world.target.host });
    const [good, large, denied] = body.plans;
    expect(good?.plan?.rules).toEqual([
      { rule: 'small', passed: true, why: expect.stringContaining('kB') as string },
    ]);
    expect(large?.plan).toMatchObject({
      blobs: { missing: 2 },
      rules: [{ rule: 'small', passed: false, refusal: { code: 'policy_denied' } }],
    });
    expect(denied).toMatchObject({ error: { code: 'policy_denied' } });
    expect(denied).not.toHaveProperty('plan');
  });

  it('asks a source again that is away for a moment while a rule is judged', async () => {
    await push(world.source.url, 'plan/sized/away', '1', manifestOf([noiseLayer(7, 3000)]));
    const gate = await startGate(world.source.host);
    try {
      const read = /^GET .*\/manifests\/sha256:/;
      // The forecast reads it first.
      const rule = gate.add(read, { kind: 'answer', status: 503 }, 1);
      const forecast = gate.add(read, { kind: 'slow', rate: Infinity }, 1);
      const { body } = await plan({ images: [`${gate.host}/plan/sized/away:1`], to: world.target.host });
      expect([forecast.hits(), rule.hits()]).toEqual([1, 1]);
      expect(body.plans[0]?.plan?.rules).toMatchObject([{ rule: 'small', passed: true }]);
    } finally {
      await gate.stop();
    }
  });

  it('counts what is chosen, and refuses what mirroring would be refused', async () => {
    await push(world.source.url, 'plan/many', '1', platformsIndex(50));
    const images = [image('plan/many'), image('plan/none')];
    const { status, body } = await plan({
      images,
      ...{ to: [world.target.host, world.source.host], platforms: ['linux/amd64'], referrers: 'none' },
    });
    expect(status).toBe(200);
    expect(body.plans[0]?.plan).toMatchObject({
      wanted: { platforms: ['linux/amd64'], referrers: 'none' },
      manifests: { total: 2, missing: 2 },
      blobs: { total: 3, missing: 3 },
    });
    expect(body.plans.map(({ error }) => error?.code)).toEqual([
      ...[undefined, 'same_registry', 'manifest_unknown', 'same_registry'],
    ]);
    expect(body.plans[2]?.error?.side).toBe('source');
    expect((await plan({ images: [], to: 'a' })).status).toBe(400);
    expect((await world.call('POST', '/v1/plan', { images: ['a'], to: 'b' })).status).toBe(401);
  });
});

describe.each(['with a service', 'alone'])('dray mirror --dry-run %s', (mode) => {
  it('shows what would be moved, and moves nothing', async () => {
    const path = `plan/cli-${mode === 'alone' ? 'a' : 's'}`;
    const { digest } = await push(world.source.url, path, '1', manifestOf([noiseLayer(70, 6000)]));
    const port = mode === 'alone' ? String(await freePort()) : new URL(world.service.url).port;
    const env = { HOME: world.dataDir, DRAY_PORT: port, DRAY_DATA_DIR: world.dataDir };
    const args = ['mirror', image(path), '--to', world.target.host, '--dry-run'];
    const run = (more: string[]) => runDray([...args, ...more], { env, cwd: world.dataDir });
    const { code, stdout, stderr } = await run(['-v']);
    expect(code).toBe(75);
    expect(stdout).toMatch(
      new RegExp(
        `○ .* → ${world.target.host}/${path}:1 {2}would be copied {2}(\\S+ k?B) of \\1, 2 of 2 blobs {2}`,
      ),
    );
    expect(stderr).toContain(`${image(path)}: digest ${digest}, 1 of 1 manifests\n`);
    expect(stderr).toMatch(/reads [1-9] manifests of the source/);
    expect((await fetch(`${world.target.url}/v2/${path}/tags/list`)).status).toBe(404);
    await push(world.source.url, `${path}/sized/a`, '1', manifestOf([noiseLayer(71, 90_000)]));
    const large = [image(`${path}/sized/a`), '--to', world.target.host, '--dry-run', '-v'];
    const refused = await runDray(['mirror', ...large], {
      env: { ...env, DRAY_CONFIG: join(world.dataDir, 'dray.yaml') },
      cwd: world.dataDir,
    });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('rule small: refused, ');
    expect(refused.stderr).toContain('The rule "small" does not let');
    await sendTo(path);
    const there = await run(['--json']);
    expect(there.code).toBe(0);
    expect(JSON.parse(there.stdout)).toMatchObject({
      state: 'present',
      plan: { present: true, digest, blobs: { total: 2, missing: 0 } },
    });
  });
});
