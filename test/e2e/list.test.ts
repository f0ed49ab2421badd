import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { manifestOf, noiseLayer, push } from '../fixtures/image.ts';
import { createWorld, type World } from '../fixtures/world.ts';

interface View {
  id: string;
  state: string;
  digest: string;
  createdAt: string;
}
interface List {
  mirrors: View[];
  next?: string;
  code?: string;
  message?: string;
}

let world: World;
beforeAll(async () => {
  world = await createWorld({ settings: 'freshness: 0\n' });
});
afterAll(() => world.stop());

let seed = 8000;
const stock = (path: string) => push(world.source.url, path, '1', manifestOf([noiseLayer(++seed, 4000)]));
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });
const list = (query: string, key = world.service.key) =>
  world.call<List>('GET', `/v1/mirrors?${query}`, undefined, bearer(key));
const idsOf = async (query: string, key?: string) =>
  (await list(query, key)).body.mirrors.map(({ id }) => id);
const stateOf = async (id: string) =>
  (await world.call<View>('GET', `/v1/mirrors/${id}`, undefined, bearer(world.service.key))).body.state;

/** Mirrors an image, waits for its end, and returns the mirror's id. */
async function mirrored(image: string, to = world.target.host, key = world.service.key): Promise<string> {
  const { body } = await world.call<{ outcomes: { mirrorId: string }[] }>(
    ...(['POST', '/v1/mirrors', { images: [image], to }, bearer(key)] as const),
  );
  const id = body.outcomes[0]?.mirrorId ?? '';
  while (['queued', 'copying'].includes(await stateOf(id))) await sleep(50);
  return id;
}

async function makeKey(name: string): Promise<{ id: string; key: string }> {
  return (
    await world.call<{ id: string; key: string }>(
      ...(['POST', '/v1/keys', { name }, bearer(world.service.key)] as const),
    )
  ).body;
}

describe('GET /v1/mirrors', () => {
  it('finds by where from, where to, digest, state and time', async () => {
    const { digest } = await stock('find/app');
    await stock('find/app/debug');
    const image = (path: string) => `${world.source.host}/${path}:1`;
    const app = await mirrored(image('find/app'));
    const debug = await mirrored(image('find/app/debug'), `${world.target.host}/deep`);
    const { createdAt } = (await list(`source=${world.source.host}/find/app/debug`)).body.mirrors[0] as View;
    const from = `source=${world.source.host}/find`;
    expect(await idsOf(from)).toEqual([debug, app]);
    expect(await idsOf(`source=${world.source.host}/fin`)).toEqual([]);
    expect(await idsOf(`target=${world.target.host}/deep`)).toEqual([debug]);
    expect(await idsOf(`target=${world.target.host}/find/app:1`)).toEqual([app]);
    expect(await idsOf(`digest=${digest}`)).toEqual([app]);
    expect(await idsOf(`${from}&since=${createdAt}`)).toEqual([debug]);
    expect(await idsOf(`${from}&until=${createdAt}`)).toEqual([app]);
    expect(await idsOf(`${from}&state=done&state=failed`)).toEqual([debug, app]);
    expect(await idsOf(`${from}&state=failed`)).toEqual([]);
  });

  it.each([
    ['state=gone', '"state.0"'],
    ['source=ubuntu', 'registry host'],
    ['target=quay.io/Acme', 'lower case'],
    ['digest=sha256:0', '"digest"'],
    ['since=yesterday', '"since"'],
    ['since=0000-01-01T00:00:00Z', 'beyond all years'],
    ['until=9999-12-31T23:59:59-12:00', 'beyond all years'],
    ['cursor=mr-1', '"cursor"'],
    ['before=mr-1', 'before'],
    ['limit=501', '"limit"'],
  ])('names what is wrong in %s', async (query, said) => {
    const { status, body } = await list(query);
    expect({ status, code: body.code }).toEqual({ status: 400, code: 'invalid_request' });
    expect(body.message).toContain(said);
  });

  it('shows everybody their own, and an administrator those of whom they name', async () => {
    const [ann, bob] = [await makeKey('ann'), await makeKey('bob')];
    await Promise.all(['mine/ann', 'mine/bob'].map(stock));
    const image = (who: string) => `${world.source.host}/mine/${who}:1`;
    const anns = await mirrored(image('ann'), world.target.host, ann.key);
    const bobs = await mirrored(image('bob'), world.target.host, bob.key);
    expect(await idsOf('', ann.key)).toEqual([anns]);
    expect(await idsOf(`target=${world.target.host}/mine`, bob.key)).toEqual([bobs]);
    expect(await idsOf(`source=${world.source.host}/mine/ann`, bob.key)).toEqual([]);
    expect(await idsOf(`tenant=key:${ann.id}`)).toEqual([anns]);
    expect(await idsOf('tenant=key:nobody')).toEqual([]);
    expect(await idsOf(`source=${world.source.host}/mine`)).toEqual([bobs, anns]);
    for (const id of [ann.id, bob.id])
      expect(await list(`tenant=key:${id}`, ann.key)).toMatchObject({
        status: 403,
        body: { code: 'forbidden' },
      });
  });
});

describe('the pages of GET /v1/mirrors', () => {
  let gate: Gate;
  beforeAll(async () => {
    await world.service.stop();
    // Days; some seconds of a test stand for a month.
    const retention = JSON.stringify({ records: 5 / 86_400, logs: 1 / 86_400 });
    const file = join(world.dataDir, 'short.yaml');
    await writeFile(file, `freshness: 0\nretention: ${retention}\n`);
    await world.restart({ DRAY_CONFIG: file });
    gate = await startGate(world.source.host);
  });
  afterAll(() => gate.stop());

  it('have no gap and no repetition while mirrors come and go', async () => {
    const names = ['page/a', 'page/bad', 'page/b', 'page/c'];
    await Promise.all([...names, 'page/new'].map(stock));
    gate.add(/^GET \/v2\/page\/bad\/blobs\//, { kind: 'answer', status: 404 });
    const ids: string[] = [];
    for (const name of names) ids.unshift(await mirrored(`${gate.host}/${name}:1`));
    const bad = ids[2] ?? '';
    expect(await stateOf(bad)).toBe('failed');
    const query = `source=${gate.host}/page&limit=3`;
    const first = (await list(query)).body;
    expect(first.mirrors.map(({ id }) => id)).toEqual(ids.slice(0, 3));
    const fresh = await mirrored(`${gate.host}/page/new:1`);
    // The row that the cursor stands at is old enough to be removed.
    await expect.poll(() => stateOf(bad), { timeout: 40_000, interval: 200 }).toBeUndefined();
    const second = (await list(`${query}&cursor=${first.next}`)).body;
    expect(second.mirrors.map(({ id }) => id)).toEqual(ids.slice(3));
    expect(second).not.toHaveProperty('next');
    expect(await idsOf(query)).toEqual([fresh, ids[0], ids[1]]);
  });
});
