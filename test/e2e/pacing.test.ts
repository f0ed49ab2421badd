import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { manifestOf, noiseLayer, push } from '../fixtures/image.ts';
import { createWorld, type World } from '../fixtures/world.ts';

interface View {
  state: string;
  attempts: number;
  wait?: { until: string; host?: string };
  failure?: { code: string; side?: string };
}

describe('a registry that lets nobody in', () => {
  let world: World;
  let gate: Gate;
  beforeAll(async () => {
    world = await createWorld({ settings: 'copies: 2\nretry: { tries: 1 }\n' });
    gate = await startGate(world.source.host);
  });
  afterAll(async () => {
    await world.stop();
    await gate.stop();
  });

  let seed = 7100;
  const image = (name: string) => push(world.source.url, name, '1', manifestOf([noiseLayer(++seed, 20_000)]));
  const view = async (id: string | undefined) =>
    (
      await world.call<View>('GET', `/v1/mirrors/${id}`, undefined, {
        authorization: `Bearer ${world.service.key}`,
      })
    ).body;
  const waiting = async (id: string | undefined): Promise<View> => {
    for (;;) {
      const seen = await view(id);
      if (seen.wait) return seen;
      if (!['queued', 'copying'].includes(seen.state)) throw new Error(`It is ${seen.state}.`);
      await sleep(20);
    }
  };

  it.each([
    ['seconds', () => ({ 'retry-after': '2' })],
    ['a date', () => ({ 'retry-after': new Date(Date.now() + 3000).toUTCString() })],
  ])('is left alone until the time that it names, as %s, and no try is used up', async (form, headers) => {
    const name = `pace-${form.length}`;
    await image(name);
    gate.add(new RegExp(`^GET /v2/${name}/blobs/`), { kind: 'answer', status: 429, headers: headers() }, 1);
    const { body } = await world.submit(`${gate.host}/${name}:1`);
    const seen = await waiting(body.buildId);
    expect(seen).toMatchObject({ state: 'queued', attempts: 0, wait: { host: gate.host } });
    expect(seen.failure).toMatchObject({ code: 'rate_limited', side: 'source' });
    const asked = gate.calls().filter((call) => call.includes(name)).length;
    const until = Date.parse(seen.wait?.until ?? '');
    expect(await world.finished(body.requestId)).toMatchObject({ succeeded: true });
    // It names whole seconds.
    expect(Date.now()).toBeGreaterThan(until - 1000);
    expect(gate.calls().filter((call) => call.includes(name)).length).toBeGreaterThan(asked);
    expect(await view(body.buildId)).toMatchObject({ state: 'done', attempts: 1 });
  });

  it('is asked by few of those who wait for it, and keeps no other registry waiting', async () => {
    const names = Array.from({ length: 12 }, (_, n) => `full/${n}`);
    await Promise.all([...names, 'free'].map(image));
    const rule = gate.add(/^GET \/v2\/full\/[0-9]+\/blobs\//, {
      kind: 'answer',
      status: 429,
      headers: { 'retry-after': '600' },
    });
    const asked = await Promise.all(names.map((name) => world.submit(`${gate.host}/${name}:1`)));
    const seen = await Promise.all(asked.map(({ body }) => waiting(body.buildId)));
    for (const { wait } of seen) {
      expect(wait?.host).toBe(gate.host);
      expect(Date.parse(wait?.until ?? '') - Date.now()).toBeGreaterThan(500_000);
    }
    // As many as were under way when it was said first, and the two blobs of each.
    expect(rule.hits()).toBeLessThanOrEqual(4);
    const other = await world.submit(`${world.source.host}/free:1`);
    expect(await world.finished(other.body.requestId)).toMatchObject({ succeeded: true });
    for (const { body } of asked) expect(await view(body.buildId)).toMatchObject({ state: 'queued' });
  });
});
