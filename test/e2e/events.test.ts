import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDray } from '../fixtures/command.ts';
import { listen, type Seen } from '../fixtures/events.ts';
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

/** The environment of somebody who uses the service. */
const user = () => ({ HOME: world.dataDir, DRAY_URL: world.service.url, DRAY_API_KEY: world.service.key });

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

describe('bytes', () => {
  it('of a layer that takes seconds move at least once in each of them', async () => {
    await push(world.source.url, 'ev/slow', '1', manifestOf([noiseLayer(++seed, 20_000_000)]));
    const rule = gate.add(/^GET \/v2\/ev\/slow\/blobs\//, { kind: 'slow', rate: 5_000_000 });
    const { id } = await ask(`${gate.host}/ev/slow:1`);
    const stream = await follow(id);
    const seen = await stream.ended;
    rule.release();
    neverBack(seen);
    expect(statesOf(seen).at(-1)).toBe('done');
    const total = seen.at(-1)?.data.progress?.bytesTotal ?? 0;
    expect(total).toBeGreaterThan(20_000_000);
    expect(progressOf(seen).at(-1)?.bytesDone).toBe(total);
    const steps = seen.filter(
      ({ type, data }) => type === 'progress' && (data.bytesDone ?? 0) > 0 && (data.bytesDone ?? 0) < total,
    );
    const first = seen.find(({ data }) => data.type === 'layer')?.at ?? 0;
    const last = seen.at(-1)?.at ?? 0;
    expect(last - first).toBeGreaterThan(3000);
    expect(new Set(steps.map(({ data }) => data.bytesDone)).size).toBe(steps.length);
    const moments = [first, ...steps.map(({ at }) => at), last];
    // A second, and what a busy machine may add.
    const gaps = moments.slice(1).map((at, n) => at - (moments[n] ?? 0));
    expect(Math.max(...gaps)).toBeLessThan(3000);
    expect(steps.length).toBeGreaterThanOrEqual(Math.floor((last - first) / 2000));
  });
});

describe('a wait', () => {
  it('is told with its reason and the host that asked for it, and ends with the next state', async () => {
    await push(
      world.source.url,
      'ev/wait',
      '1',
      manifestOf([noiseLayer(++seed, 20_000), noiseLayer(++seed, 30_000)]),
    );
    const rule = gate.add(/^GET \/v2\/ev\/wait\/blobs\//, { kind: 'answer', status: 503 }, 1);
    const { id } = await ask(`${gate.host}/ev/wait:1`);
    const seen = await (await follow(id)).ended;
    expect(rule.hits()).toBe(1);
    expect(statesOf(seen)).toEqual(['queued', 'copying', 'queued', 'copying', 'done']);
    const [, , waiting, again] = seen.filter(({ type }) => type === 'state').map(({ data }) => data);
    expect(waiting).toMatchObject({ failure: { code: 'registry_unavailable', side: 'source' } });
    expect(Date.parse(waiting?.wait?.until ?? '')).toBeGreaterThan(0);
    expect(again?.wait).toBeUndefined();
    neverBack(seen);
    // One start and one end of each layer, whatever the number of tries.
    const layers = seen
      .filter(({ type }) => type === 'layer')
      .map(({ data }) => `${data.digest} ${data.state}`);
    expect(new Set(layers).size).toBe(layers.length);
    expect(layers.filter((layer) => !layer.endsWith('started')).length).toBe(2);
  });

  it('is on the record of the mirror while it lasts', async () => {
    await push(world.source.url, 'ev/limited', '1', manifestOf([noiseLayer(++seed, 5000)]));
    gate.add(
      /^GET \/v2\/ev\/limited\/blobs\//,
      {
        kind: 'answer',
        status: 429,
        headers: { 'retry-after': '4', 'content-type': 'application/json' },
        body: '{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}',
      },
      1,
    );
    const { id } = await ask(`${gate.host}/ev/limited:1`);
    const stream = await follow(id);
    const { data } = await stream.until((event) => event.data.wait !== undefined);
    const authorization = `Bearer ${world.service.key}`;
    const path = `/v1/mirrors/${id}`;
    const record = await world.call<{ wait?: object }>('GET', path, undefined, { authorization });
    expect(record.body.wait).toEqual(data.wait);
    const page = await world.call<string>('GET', `/view/mirrors/${id}`);
    const utc = data.wait?.until.slice(0, 19).replace('T', ' ');
    expect(page.body).toContain(`waiting for ${gate.host} until ${utc} UTC`);
    const shown = await runDray(['status', id], { env: user() });
    const local = new Date(data.wait?.until ?? '');
    const clock = [local.getHours(), local.getMinutes()]
      .map((part) => String(part).padStart(2, '0'))
      .join(':');
    expect(shown).toMatchObject({
      code: 75,
      stdout: expect.stringContaining(`waits:   for ${gate.host} until ${clock}\n`) as string,
    });
    await stream.ended;
    const after = await world.call<{ wait?: object }>('GET', path, undefined, { authorization });
    expect(after.body).toMatchObject({ state: 'done' });
    expect(after.body.wait).toBeUndefined();
  });
});

describe('a client that comes again', () => {
  /** Reads from a place on, and closes as soon as so many events that are on record have come. */
  async function cutAfter(id: string, from: string | undefined, count: number) {
    const stream = await follow(id, from);
    await stream.until(() => durable(stream.seen).length >= count);
    stream.close();
    await stream.ended;
    return {
      data: durable(stream.seen).slice(0, count),
      last: stream.seen.filter((e) => e.id)[count - 1]?.id,
    };
  }

  it('gets exactly the rest, wherever it was cut, also over a kill -9 of the service', async () => {
    const image = await push(world.source.url, 'ev/cut', '1', platformsIndex(++seed, { size: 3000 }));
    const layers = [...image.contents.values()].filter(({ mediaType }) => mediaType.includes('layer'));
    const rule = gate.add(new RegExp(`^GET /v2/ev/cut/blobs/${layers[4]?.digest}`), { kind: 'hold' });
    const { id } = await ask(`${gate.host}/ev/cut:1`);
    const before = await follow(id);
    await rule.met;
    // All that is on record before its service is killed.
    await before.until(({ type, data }) => type === 'layer' && data.state === 'done');
    await world.service.stop('SIGKILL');
    await before.ended;
    rule.release();
    await world.restart();
    const rest = await (await follow(id, before.lastId())).ended;
    neverBack([...before.seen, ...rest]);
    const whole = durable(await (await follow(id)).ended);
    expect([...durable(before.seen), ...durable(rest)]).toEqual(whole);
    expect(whole.filter(({ state }) => state === 'copying').length).toBe(2);
    const ids = (await (await follow(id)).ended).flatMap((event) => event.id ?? []);
    expect(ids.length).toBeGreaterThan(12);
    for (const [n, lastId] of ids.entries()) {
      const again = await follow(id, lastId);
      expect(durable(await again.ended), `behind event ${n}`).toEqual(whole.slice(n + 1));
      // Which tells an EventSource not to come again.
      expect(again.status).toBe(n === ids.length - 1 ? 204 : 200);
    }
  });

  it('gets exactly the rest when it is cut while the copy goes on, at every event', async () => {
    await push(world.source.url, 'ev/live', '1', platformsIndex(++seed, { size: 3000 }));
    const { id } = await ask(`${gate.host}/ev/live:1`);
    const pieces: unknown[] = [];
    let last: string | undefined;
    for (;;) {
      const piece = await cutAfter(id, last, 1);
      pieces.push(...piece.data);
      last = piece.last;
      if (['done', 'failed'].includes(piece.data[0]?.state ?? '') && piece.data[0]?.type === 'state') break;
    }
    expect(pieces).toEqual(durable(await (await follow(id)).ended));
  });

  it.each([['abc'], ['-1'], ['1e3'], ['1'.repeat(40)]])(
    'with %s is told that this is no id',
    async (lastId) => {
      const { id } = await ask(`${gate.host}/ev/live:1`, world.service.key).catch(() => ({ id: '' }));
      const mirror = id || 'mr-0';
      const one = await fetch(`${world.service.url}/v1/mirrors/${mirror}/events`, {
        headers: { authorization: `Bearer ${world.service.key}`, 'last-event-id': lastId },
      });
      const all = await fetch(`${world.service.url}/v1/events`, {
        headers: { authorization: `Bearer ${world.service.key}`, 'last-event-id': lastId },
      });
      expect([one.status, all.status]).toEqual([400, 400]);
      expect(((await one.json()) as { message: string }).message).toContain('last-event-id');
    },
  );
});

describe('the events of all', () => {
  it('are those of the caller, from the moment it joins, and nothing of others; an administrator has all', async () => {
    const [ann, bob] = [await makeKey('ann'), await makeKey('bob')];
    const admin = await followAll();
    const streams = [await followAll(undefined, ann.key), await followAll(undefined, bob.key)] as const;
    await push(world.source.url, 'ev/ann', '1', manifestOf([noiseLayer(++seed, 6000)]));
    await push(world.source.url, 'ev/both', '1', manifestOf([noiseLayer(++seed, 6000)]));
    const anns = await ask(`${gate.host}/ev/ann:1`, ann.key);
    const rule = gate.add(/^GET \/v2\/ev\/both\/blobs\//, { kind: 'hold' });
    const both = await ask(`${gate.host}/ev/both:1`, ann.key);
    await rule.met;
    await streams[0].until(({ data }) => data.mirror === both.id && data.state === 'copying');
    // Bob comes when it has begun: he is told how it is, and how it goes on.
    expect((await ask(`${gate.host}/ev/both:1`, bob.key)).id).toBe(both.id);
    await streams[1].until(({ data }) => data.mirror === both.id && data.state === 'copying');
    rule.release();
    for (const stream of [...streams, admin]) {
      await stream.until((event) => isState('done')(event) && event.data.mirror === both.id);
      stream.close();
      await stream.ended;
      neverBack(stream.seen.filter(({ data }) => data.mirror === both.id));
    }
    expect(new Set(streams[1].seen.map(({ data }) => data.mirror))).toEqual(new Set([both.id]));
    for (const { seen } of [streams[0], admin]) {
      expect(new Set(seen.map(({ data }) => data.mirror))).toEqual(new Set([anns.id, both.id]));
      for (const { id } of [anns, both]) {
        const own = seen.filter(({ data }) => data.mirror === id);
        expect(durable(own)).toEqual(durable(await (await follow(id)).ended));
        expect(progressOf(own).at(-1)?.bytesDone).toBe(own.at(-1)?.data.progress?.bytesTotal);
      }
    }
  });

  it('go on behind any of them, and behind the beginning of a stream that told nothing', async () => {
    const quiet = await followAll();
    await quiet.begun;
    quiet.close();
    await quiet.ended;
    expect(quiet.seen).toEqual([]);
    await push(world.source.url, 'ev/again', '1', manifestOf([noiseLayer(++seed, 6000)]));
    const { id, requestId } = await ask(`${gate.host}/ev/again:1`);
    await world.finished(requestId);
    const ended = (event: Seen) => isState('done')(event) && event.data.mirror === id;
    const whole = await followAll(quiet.lastId());
    await whole.until(ended);
    whole.close();
    await whole.ended;
    expect(durable(whole.seen)).toEqual(durable(await (await follow(id)).ended));
    const placed = whole.seen.filter((event) => event.id !== undefined);
    for (const [n, event] of placed.slice(0, -1).entries()) {
      const rest = await followAll(event.id);
      await rest.until(ended);
      rest.close();
      await rest.ended;
      expect(durable(rest.seen)).toEqual(durable(whole.seen).slice(n + 1));
    }
  });

  it('of another database are refused', async () => {
    const stream = await followAll('999999999-1');
    expect(stream.status).toBe(400);
  });
});

describe('an event stream', () => {
  it('is in the OpenAPI document, with what its events have', async () => {
    interface Document {
      paths: Record<
        string,
        { get: { responses: Record<string, { content?: Record<string, { schema: unknown }> }> } }
      >;
      components: { schemas: Record<string, { anyOf?: unknown; oneOf?: unknown[] }> };
    }
    const { body } = await world.call<Document>('GET', '/openapi.json');
    const streams = ['/v1/events', '/v1/mirrors/{id}/events'].map((path) => body.paths[path]?.get.responses);
    for (const responses of streams)
      expect(responses?.['200']?.content?.['text/event-stream']?.schema).toEqual({
        $ref: '#/components/schemas/MirrorEvent',
      });
    expect(streams[1]?.['204']?.content).toBeUndefined();
    expect(body.components.schemas['MirrorEvent']?.oneOf).toEqual(
      ['StateEvent', 'LayerEvent', 'ProgressEvent'].map((name) => ({ $ref: `#/components/schemas/${name}` })),
    );
  });

  it('wants a key, and a mirror that is there', async () => {
    const status = async (path: string, key = '') =>
      (await fetch(world.service.url + path, { headers: key ? { authorization: `Bearer ${key}` } : {} }))
        .status;
    expect(await status('/v1/events')).toBe(401);
    expect(await status('/v1/mirrors/mr-0/events')).toBe(401);
    expect(await status('/v1/mirrors/mr-0/events', world.service.key)).toBe(404);
  });

  it("is found by a request's id too, and also when the mirror ended long ago", async () => {
    await push(world.source.url, 'ev/request', '1', manifestOf([noiseLayer(++seed, 6000)]));
    const { id, requestId } = await ask(`${gate.host}/ev/request:1`);
    await world.finished(requestId);
    expect(durable(await (await follow(requestId)).ended)).toEqual(durable(await (await follow(id)).ended));
  });

  it('ends when its key is revoked', async () => {
    const { key, id } = await makeKey('short-lived');
    const stream = await followAll(undefined, key);
    await stream.begun;
    const admin = { authorization: `Bearer ${world.service.key}` };
    await world.call('DELETE', `/v1/keys/${id}`, undefined, admin);
    await stream.ended;
    expect((await followAll(stream.lastId(), key)).status).toBe(401);
  });

  it('is given to a caller a hundred times, and not once more', async () => {
    const { key } = await makeKey('greedy');
    const streams = await Promise.all(Array.from({ length: 100 }, () => followAll(undefined, key)));
    expect(new Set(streams.map(({ status }) => status))).toEqual(new Set([200]));
    const more = await followAll(undefined, key);
    expect([more.status, more.headers.has('retry-after')]).toEqual([429, true]);
    for (const stream of streams) stream.close();
    await Promise.all(streams.map(({ ended }) => ended));
  });

  it('ends at once with the service, however many there are, read or not', async () => {
    const streams = await Promise.all(Array.from({ length: 50 }, () => followAll()));
    await Promise.all(streams.map(({ begun }) => begun));
    const started = performance.now();
    expect(await world.service.stop('SIGTERM')).toBe(0);
    expect(performance.now() - started).toBeLessThan(5000);
    await Promise.all(streams.map(({ ended }) => ended));
    await world.restart();
    // The clients go on.
    const again = await followAll(streams[0]?.lastId());
    expect(again.status).toBe(200);
    again.close();
  });
});
