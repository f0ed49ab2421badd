import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listen, type Listening, type Seen } from '../fixtures/events.ts';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { manifestOf, noiseLayer, platformsIndex, push } from '../fixtures/image.ts';
import { createWorld, type World } from '../fixtures/world.ts';

let world: World;
let gate: Gate;
beforeAll(async () => {
  world = await createWorld({ settings: 'freshness: 0\n' });
  gate = await startGate(world.source.host);
});
afterAll(async () => {
  await gate.stop();
  await world.stop();
});

let seed = 9000;
const isState = (state: string) => (event: Seen) => event.type === 'state' && event.data.state === state;
const statesOf = (seen: readonly Seen[]) =>
  seen.filter(({ type }) => type === 'state').map(({ data }) => data.state);
const durable = (seen: readonly Seen[]) => seen.filter(({ id }) => id !== undefined).map(({ data }) => data);
const progressOf = (seen: readonly Seen[]) =>
  seen.filter(({ type }) => type === 'progress').map(({ data }) => data);
const follow = (id: string, lastEventId?: string, key = world.service.key) =>
  listen(`${world.service.url}/v1/mirrors/${id}/events`, key, lastEventId);
const followAll = (lastEventId?: string, key = world.service.key) =>
  listen(`${world.service.url}/v1/events`, key, lastEventId);

async function makeKey(name: string) {
  const admin = { authorization: `Bearer ${world.service.key}` };
  const { body } = await world.call<{ key: string; id: string }>('POST', '/v1/keys', { name }, admin);
  return body;
}

/** Asks for an image as the holder of a key. */
async function ask(image: string, key = world.service.key) {
  const answer = await world.submit(image, undefined, { towerAccessToken: key });
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  return { id: answer.body.buildId ?? '', requestId: answer.body.requestId };
}

function neverBack(seen: readonly Seen[]): void {
  const counts = progressOf(seen);
  counts.reduce((before, next) => {
    expect(next.bytesDone).toBeGreaterThanOrEqual(before.bytesDone ?? 0);
    expect(next.layersDone).toBeGreaterThanOrEqual(before.layersDone ?? 0);
    return next;
  });
}

describe('the events of a mirror', () => {
  it('are told from its beginning to its end, with every layer, and bytes that end exactly at the total', async () => {
    const shared = noiseLayer(++seed, 30_000);
    const own = noiseLayer(++seed, 40_000);
    await push(world.source.url, 'ev/first', '1', manifestOf([shared, own]));
    const { id } = await ask(`${world.source.host}/ev/first:1`);
    const stream = await follow(id);
    expect(stream.status).toBe(200);
    expect(Object.fromEntries(stream.headers)).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    });
    const seen = await stream.ended;
    expect(statesOf(seen)).toEqual(['queued', 'copying', 'done']);
    expect(seen.every(({ data }) => data.mirror === id)).toBe(true);
    const layers = seen.filter(({ type }) => type === 'layer').map(({ data }) => data);
    for (const { digest, bytes } of [shared, own])
      expect(
        layers.filter((layer) => layer.digest === digest).map(({ state, size }) => [state, size]),
      ).toEqual([
        ['started', bytes.length],
        ['done', bytes.length],
      ]);
    neverBack(seen);
    const end = seen.at(-1)?.data.progress;
    expect(end?.layersDone).toBe(2);
    expect(end?.bytesTotal).toBeGreaterThan(70_000);
    expect(end?.bytesDone).toBe(end?.bytesTotal);
    expect(progressOf(seen).at(-1)).toMatchObject({ ...end });
  });
});
