import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { manifestOf, noiseLayer, platformsIndex, push } from '../fixtures/image.ts';
import { createWorld, type World } from '../fixtures/world.ts';

let world: World;
/** The source behind a gate: calls can be counted and held. */
let gate: Gate;
beforeAll(async () => {
  world = await createWorld({ settings: 'freshness: 60\n' });
  gate = await startGate(world.source.host);
});
afterAll(async () => {
  await gate.stop();
  await world.stop();
});

let seed = 2000;
const image = (path: string, tag: string) =>
  push(world.source.url, path, tag, manifestOf([noiseLayer(++seed, 20_000)]));
const writes = () => world.target.log().match(/"(?:POST|PUT|PATCH) /g)?.length ?? 0;
const mirrored = async (name: string, to?: string) => {
  const { body, status } = await world.submit(name, to);
  expect(status, JSON.stringify(body)).toBe(200);
  expect(await world.finished(body.requestId)).toMatchObject({ succeeded: true });
  return body;
};

describe('many callers for one image', () => {
  it('get one copy, and each its own request', async () => {
    await image('crowd', '1');
    const layer = gate.add(/^GET \/v2\/crowd\/blobs\//, { kind: 'hold' });
    const ask = () => world.submit(`${gate.host}/crowd:1`);
    const first = await Promise.all(Array.from({ length: 50 }, ask));
    await layer.met;
    // While it is copied, newcomers join it.
    const later = await Promise.all(Array.from({ length: 50 }, ask));
    const answers = [...first, ...later].map(({ body }) => body);
    expect(new Set(answers.map(({ buildId }) => buildId)).size).toBe(1);
    expect(new Set(answers.map(({ requestId }) => requestId)).size).toBe(100);
    expect(answers.every(({ cached, succeeded }) => !cached && succeeded === undefined)).toBe(true);
    layer.release();
    const ends = await Promise.all(answers.map(({ requestId }) => world.finished(requestId)));
    expect(ends.every(({ succeeded }) => succeeded)).toBe(true);
    const layers = gate.calls().filter((call) => call.startsWith('GET /v2/crowd/blobs/'));
    // One layer and one config, once each.
    expect(layers.length).toBe(new Set(layers).size);
    expect(layers.length).toBe(2);
  });
});

describe('an image that is there', () => {
  it('is found without a copy and without a record, and nothing is pushed', async () => {
    await push(world.target.url, 'theirs', '1', await image('theirs', '1'));
    const before = writes();
    const answer = await world.submit(`${gate.host}/theirs:1`);
    expect(answer).toMatchObject({ status: 200, body: { cached: true, succeeded: true } });
    expect(answer.body).not.toHaveProperty('buildId');
    expect(await world.finished(answer.body.requestId)).toMatchObject({ succeeded: true, mirrorId: null });
    expect(writes()).toBe(before);
  });

  it('under another tag gets its tag and nothing else', async () => {
    const content = await image('retag', '1');
    await mirrored(`${gate.host}/retag:1`);
    await push(world.source.url, 'retag', '2', content);
    const [before, calls] = [writes(), gate.calls().length];
    await mirrored(`${gate.host}/retag:2`);
    expect(writes()).toBe(before + 1);
    expect(
      gate
        .calls()
        .slice(calls)
        .filter((call) => call.includes('/blobs/')),
    ).toEqual([]);
  });

  it('is looked at no more often than the freshness says', async () => {
    await image('fresh', '1');
    await mirrored(`${gate.host}/fresh:1`);
    await mirrored(`${gate.host}/fresh:1`);
    const calls = gate.calls().length;
    const again = await Promise.all(Array.from({ length: 20 }, () => world.submit(`${gate.host}/fresh:1`)));
    expect(again.every(({ body }) => body.cached)).toBe(true);
    // They share a record, and still each has an id of its own.
    expect(new Set(again.map(({ body }) => body.requestId)).size).toBe(20);
    for (const { body } of again.slice(0, 3))
      expect(await world.finished(body.requestId)).toMatchObject({ id: body.requestId, succeeded: true });
    expect(gate.calls().length).toBe(calls);
  });
});

describe('with a freshness of 0', () => {
  let strict: World;
  beforeAll(async () => {
    strict = await createWorld({ settings: 'freshness: 0\n' });
  });
  afterAll(() => strict.stop());
  const strictly = async (name: string, to?: string) => {
    const { body, status } = await strict.submit(name, to);
    expect(status, JSON.stringify(body)).toBe(200);
    expect(await strict.finished(body.requestId)).toMatchObject({ succeeded: true });
    return body;
  };
  const make = (path: string, tag: string, url = strict.source.url) =>
    push(url, path, tag, manifestOf([noiseLayer(++seed, 5000)]));
  const at = async (path: string, tag: string) =>
    (
      await fetch(`${strict.target.url}/v2/${path}/manifests/${tag}`, {
        method: 'HEAD',
        headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
      })
    ).headers.get('docker-content-digest');

  it('a tag that has moved at the source is copied again', async () => {
    await make('moving', 'latest');
    await strictly(`${strict.source.host}/moving`);
    const second = await make('moving', 'latest');
    expect(await strictly(`${strict.source.host}/moving`)).toMatchObject({ cached: false });
    expect(await at('moving', 'latest')).toBe(second.digest);
    expect(await strictly(`${strict.source.host}/moving`)).toMatchObject({ cached: true });
  });

  it('an image that was removed from the target is copied again', async () => {
    const content = await make('removed', '1');
    await strictly(`${strict.source.host}/removed:1`);
    const gone = await fetch(`${strict.target.url}/v2/removed/manifests/${content.digest}`, {
      method: 'DELETE',
    });
    expect(gone.status).toBe(202);
    expect(await strictly(`${strict.source.host}/removed:1`)).toMatchObject({ cached: false });
    expect(await at('removed', '1')).toBe(content.digest);
  });

  it('an image that has lost a part at the target is not there, and is made whole', async () => {
    const index = await push(strict.source.url, 'holed', '1', platformsIndex(++seed, { size: 3000 }));
    await strictly(`${strict.source.host}/holed:1`);
    const child = index.children[3]?.digest ?? '';
    const gone = await fetch(`${strict.target.url}/v2/holed/manifests/${child}`, { method: 'DELETE' });
    expect(gone.status).toBe(202);
    expect(await strictly(`${strict.source.host}/holed:1`)).toMatchObject({ cached: false });
    expect(await at('holed', child)).toBe(child);
    expect(await strictly(`${strict.source.host}/holed:1`)).toMatchObject({ cached: true });
  });

  it('two sources that ask for one target at the same moment do not both get it', async () => {
    const other = await createWorld();
    const target = await startGate(strict.target.host);
    try {
      await make('race', '1');
      const theirs = await make('race', '1', other.source.url);
      await make('bystander', '1');
      // Whoever looks at the target's tag waits there, so that both would go on at the same moment.
      const looking = target.add(/^HEAD \/v2\/race\/manifests\/1$/, { kind: 'hold' });
      const answers = Promise.all([
        strict.submit(`${strict.source.host}/race:1`, target.host),
        strict.submit(`${other.source.host}/race:1@${theirs.digest}`, target.host),
      ]);
      await looking.met;
      // Whatever was sent before this one has come as far as it can.
      await strict.submit(`${strict.source.host}/bystander:1`, target.host);
      looking.release();
      expect((await answers).map(({ status }) => status).sort()).toEqual([200, 400]);
      expect((await answers).find(({ status }) => status === 400)?.body.code).toBe('origin_conflict');
    } finally {
      await target.stop();
      await other.stop();
    }
  });

  it('a target that comes from another source is not replaced, unless the content is the same', async () => {
    const other = await createWorld();
    try {
      const first = await make('clash', '1');
      await strictly(`${strict.source.host}/clash:1`);
      await make('clash', '1', other.source.url);
      const refused = await strict.submit(`${other.source.host}/clash:1`);
      expect(refused).toMatchObject({ status: 400, body: { code: 'origin_conflict', side: 'target' } });
      expect(refused.body.message).toContain(`${strict.source.host}/clash:1`);
      expect(refused.body.message).toContain('overwrite: always');
      expect(await at('clash', '1')).toBe(first.digest);
      await push(other.source.url, 'clash', '1', first);
      expect(await strictly(`${other.source.host}/clash:1`)).toMatchObject({ cached: true });
    } finally {
      await other.stop();
    }
  });

  it('`overwrite: always` lets another source replace it', async () => {
    const loose = await createWorld({ settings: 'freshness: 0\noverwrite: always\n' });
    try {
      await make('clash2', '1', loose.source.url);
      const first = await loose.submit(`${loose.source.host}/clash2:1`);
      await loose.finished(first.body.requestId);
      const other = await make('clash2', '1');
      const second = await loose.submit(`${strict.source.host}/clash2:1`);
      expect(await loose.finished(second.body.requestId)).toMatchObject({ succeeded: true });
      const seen = await fetch(`${loose.target.url}/v2/clash2/manifests/1`, {
        headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
      });
      expect(seen.headers.get('docker-content-digest')).toBe(other.digest);
    } finally {
      await loose.stop();
    }
  });
});
