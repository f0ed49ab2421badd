import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { type Asked, PairedPlatform } from '../../test/fixtures/paired-platform.ts';
import { MirrorError } from '../core/errors.ts';
import { type Channel, type ChannelTimings, createChannel } from './channel.ts';

const endpoint = 'https://seqera.example.com/api';
const second = 'https://other.example.com';

/** Milliseconds. A test of what happens in time sets its own; nothing else may depend on them. */
const never = 1_000_000;

describe('the channel', () => {
  let server: WebSocketServer;
  let channel: Channel;
  let platforms: PairedPlatform[];
  const good = new Set<string>();
  const errors: unknown[] = [];
  let pairs: number;
  let present: (endpoint: string) => Promise<{ id: string; publicKey: string }>;

  function start(timings: Partial<ChannelTimings> = {}): void {
    channel = createChannel({
      pairings: {
        endpoints: [endpoint, second],
        present: (which) => present(which),
        isGood: async (id) => good.has(id),
      },
      onError: (error) => errors.push(error),
      timings: { answer: never, connect: never, total: never, pause: 1, ...timings },
    });
  }
  beforeEach(async () => {
    server = new WebSocketServer({ port: 0, host: '127.0.0.1', maxPayload: 1024 * 1024 });
    await once(server, 'listening');
    server.on('connection', (socket, request) => {
      void channel.open(decodeURIComponent(request.url?.slice(1) ?? ''), socket);
    });
    platforms = [];
    good.clear();
    errors.length = 0;
    pairs = 0;
    present = async () => {
      const id = `pair${++pairs}`;
      good.add(id);
      return { id, publicKey: `key of ${id}` };
    };
  });
  afterEach(async () => {
    channel.close();
    for (const { socket } of platforms) socket.terminate();
    await new Promise((resolve) => server.close(resolve));
    expect(errors).toEqual([]);
  });

  async function dial(which = endpoint): Promise<PairedPlatform> {
    const { port } = server.address() as AddressInfo;
    const socket = new WebSocket(`ws://127.0.0.1:${port}/${encodeURIComponent(which)}`);
    const platform = new PairedPlatform(socket);
    platforms.push(platform);
    await once(socket, 'open');
    return platform;
  }
  async function connect(which = endpoint): Promise<PairedPlatform> {
    const platform = await dial(which);
    await platform.until(() => platform.pairing !== undefined);
    return platform;
  }
  const get = (uri = `${endpoint}/x`, which = endpoint, signal = new AbortController().signal) =>
    channel.request(which, { method: 'GET', uri, auth: 'Bearer t' }, signal);
  const post = () =>
    channel.request(
      endpoint,
      { method: 'POST', uri: `${endpoint}/y`, auth: null, body: 'a=1', headers: { A: ['b'] } },
      new AbortController().signal,
    );
  const unavailable = (message: RegExp | string) => ({
    code: 'platform_unavailable',
    retryable: true,
    message: expect.stringMatching(message) as string,
  });

  it('sends the pair first, and then what is asked', async () => {
    start();
    const platform = await connect();
    const { status, body, headers, pairingId } = await get();
    expect(platform.types).toEqual(['pairing-response', 'proxy-http-request']);
    expect(platform.pairing).toMatchObject({ pairingId: 'pair1', publicKey: 'key of pair1' });
    expect([status, body, headers.size, pairingId]).toEqual([200, `${endpoint}/x`, 0, 'pair1']);
    platform.answer = () => ({ status: 204, body: null, headers: { 'Set-Cookie': ['a', null], X: null } });
    const empty = await post();
    expect([empty.status, empty.body]).toEqual([204, '']);
    expect([...empty.headers]).toEqual([
      ['set-cookie', ['a']],
      ['x', []],
    ]);
    expect(platform.asked[0]).toMatchObject({ method: 'GET', auth: 'Bearer t', body: null, headers: {} });
    expect(platform.asked[1]).toMatchObject({
      method: 'POST',
      uri: `${endpoint}/y`,
      auth: null,
      body: 'a=1',
      headers: { A: ['b'] },
    });
  });

  it('names in the URI the pair that the used socket was sent, and uses the newest socket', async () => {
    start();
    await connect();
    const newest = await connect();
    const uri = (id: string) => `${endpoint}/keys?pairingId=${id}`;
    const { body, pairingId } = await channel.request(
      endpoint,
      { method: 'GET', uri, auth: null },
      new AbortController().signal,
    );
    expect([body, pairingId]).toEqual([uri('pair2'), 'pair2']);
    newest.socket.close();
    await newest.closed;
    await vi.waitUntil(() => channel.states()[0]?.sockets === 1);
    expect((await get()).pairingId).toBe('pair1');
  });

  it('waits for an endpoint that is not connected', async () => {
    start();
    const asked = get();
    expect(channel.states()[0]).toMatchObject({ endpoint, state: 'waiting', sockets: 0 });
    await connect();
    expect((await asked).status).toBe(200);
    expect(channel.states()).toMatchObject([
      { endpoint, state: 'connected', sockets: 1, since: expect.any(Date) as Date },
      { endpoint: second, state: 'waiting' },
    ]);
  });

  it('says which endpoint is not connected, when its time or the caller’s is over', async () => {
    start({ connect: 5 });
    await expect(get()).rejects.toMatchObject(unavailable(`${endpoint} is not connected`));
    start();
    await expect(get(undefined, endpoint, AbortSignal.timeout(5))).rejects.toMatchObject(
      unavailable(`${endpoint} (?:is not connected|did not answer)`),
    );
    await expect(get(undefined, 'https://no\n"where".example.com')).rejects.toMatchObject({
      code: 'unpaired_endpoint',
      message: 'https://no"where".example.com is not paired with this service.',
    });
  });

  describe('with a slow Platform', () => {
    beforeEach(() => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      start({ answer: 5000, pause: 200 });
    });
    afterEach(() => {
      vi.useRealTimers();
    });
    /** The longest pause after so many tries, with its jitter. */
    const pause = (tries: number) => vi.advanceTimersByTimeAsync(300 * 2 ** (tries - 1));

    it('asks again three times, and then gives up', async () => {
      const platform = await connect();
      platform.answer = () => undefined;
      const failed = expect(get()).rejects.toMatchObject(
        unavailable(`${endpoint} did not answer within 5 s`),
      );
      for (let tries = 1; tries <= 4; tries++) {
        await platform.until(() => platform.asked.length === tries);
        await vi.advanceTimersByTimeAsync(5000);
        await pause(tries);
      }
      await failed;
      expect(platform.asked.length).toBe(4);
      expect(channel.states()[0]?.lastError).toMatch(/did not answer within/);
    });

    it('asks through another socket where there is one', async () => {
      const old = await connect();
      const young = await connect();
      young.answer = () => undefined;
      const answer = get();
      await young.until(() => young.asked.length === 1);
      await vi.advanceTimersByTimeAsync(5000);
      await pause(1);
      expect((await answer).pairingId).toBe(old.pairing?.pairingId);
    });

    it('sends nothing twice that may change something', async () => {
      const platform = await connect();
      platform.answer = () => undefined;
      const failed = expect(post()).rejects.toMatchObject(unavailable('did not answer within'));
      await platform.until(() => platform.asked.length === 1);
      await vi.advanceTimersByTimeAsync(5000);
      await failed;
      platform.answer = () => platform.socket.terminate();
      await expect(post()).rejects.toMatchObject(unavailable('closed its connection'));
      expect(platform.asked.length).toBe(2);
    });
  });

  it('turns to another socket when one is killed in the middle of a request', async () => {
    start();
    const old = await connect();
    const young = await connect();
    young.answer = () => young.socket.terminate();
    expect((await get()).pairingId).toBe('pair1');
    expect([young.asked.length, old.asked.length]).toEqual([1, 1]);
    expect(channel.states()[0]).toMatchObject({ sockets: 1, lastError: 'It closed its connection (1006).' });
    old.answer = () => old.socket.terminate();
    const asked = get();
    await old.closed;
    await connect();
    expect((await asked).pairingId).toBe('pair3');
  });

  it('lets go of a request as soon as its caller does', async () => {
    start();
    const platform = await connect();
    const caller = new AbortController();
    platform.answer = () => caller.abort();
    await expect(get(undefined, endpoint, caller.signal)).rejects.toMatchObject(
      unavailable('did not answer in time'),
    );
    platform.answer = () => ({ status: 200 });
    expect((await get()).status).toBe(200);
  });

  it.each([
    ['endpoint', second],
    ['socket', endpoint],
  ])('takes an answer only from the %s that was asked, and only once', async (_, others) => {
    start();
    const thief = await connect(others);
    const asked = await connect();
    asked.answer = () => undefined;
    const answer = get();
    await asked.until(() => asked.asked.length === 1);
    const msgId = asked.asked[0]?.msgId;
    const response = (body: string) => ({ '@type': 'proxy-http-response', msgId, status: 200, body });
    thief.send(response('stolen'));
    thief.send({ '@type': 'pairing-heartbeat', msgId: 'seen' });
    await thief.until(() => thief.heartbeats.includes('seen'));
    asked.send({ ...response('a guess'), msgId: 'unknown' });
    asked.send(response('right'));
    asked.send(response('again'));
    expect((await answer).body).toBe('right');
  });

  it('answers heartbeats with their id, and closes when the pair is no longer on record', async () => {
    start();
    const platform = await connect();
    platform.send({ '@type': 'pairing-heartbeat', msgId: 'one', more: true });
    await platform.until(() => platform.heartbeats.length === 1);
    expect(platform.heartbeats).toEqual(['one']);
    good.clear();
    platform.send({ '@type': 'pairing-heartbeat', msgId: 'two' });
    const [code] = await platform.closed;
    expect([code, platform.heartbeats]).toEqual([1012, ['one', 'two']]);
    const again = await connect();
    expect(again.pairing?.pairingId).toBe('pair2');
  });

  it('ignores types and fields that it does not know', async () => {
    start();
    const platform = await connect();
    for (let i = 0; i < 20; i++) platform.send({ '@type': 'pairing-new', any: [i] });
    expect((await get()).status).toBe(200);
  });

  it('asks again when the answer makes no sense', async () => {
    start();
    const platform = await connect();
    platform.answer = () => ({ status: 'fine' });
    await expect(get()).rejects.toMatchObject(unavailable('makes no sense'));
    expect(platform.asked.length).toBe(4);
    // Five in a row would close it.
    platform.send({ '@type': 'pairing-new' });
    let count = 0;
    platform.answer = () => (count++ === 0 ? { status: 99 } : { status: 200 });
    expect((await get()).status).toBe(200);
  });

  it('sends no more than 64 requests at once, in order, and loses none of 500', async () => {
    start();
    const platform = await connect();
    const held: Asked[] = [];
    let most = 0;
    platform.answer = (asked) => {
      held.push(asked);
      most = Math.max(most, held.length);
      return undefined;
    };
    const uris = Array.from({ length: 500 }, (_, i) => `${endpoint}/${i}`);
    const answers = Promise.all(uris.map((uri) => get(uri)));
    for (let done = 0; done < 500;) {
      // As many as can be under way are, before any is answered.
      await platform.until(() => held.length === Math.min(64, 500 - done));
      done += held.length;
      for (const { msgId, uri } of held.splice(0).reverse())
        platform.send({ '@type': 'proxy-http-response', msgId, status: 200, body: uri });
    }
    expect((await answers).map(({ body }) => body)).toEqual(uris);
    expect(most).toBe(64);
    expect(platform.asked.map(({ uri }) => uri)).toEqual(uris);
  });

  it('gives up its place in the queue with the caller, and passes it on', async () => {
    start();
    const platform = await connect();
    platform.answer = () => undefined;
    const first = Array.from({ length: 64 }, () => get());
    await platform.until(() => platform.asked.length === 64);
    const caller = new AbortController();
    const impatient = get(undefined, endpoint, caller.signal);
    const patient = get(`${endpoint}/patient`);
    caller.abort();
    await expect(impatient).rejects.toMatchObject(unavailable('did not answer in time'));
    platform.answer = ({ uri }) => ({ status: 200, body: uri });
    const answer = ({ msgId }: Asked) =>
      platform.send({ '@type': 'proxy-http-response', msgId, status: 200 });
    // One place becomes free.
    platform.asked.slice(0, 1).forEach(answer);
    expect((await patient).body).toBe(`${endpoint}/patient`);
    platform.asked.slice(1, 64).forEach(answer);
    await Promise.all(first);
    expect(platform.asked.length).toBe(65);
  });

  it('sends nothing while too much waits to be sent', async () => {
    start();
    const platform = await connect();
    const [socket] = server.clients;
    if (!socket) throw new Error('no socket');
    let buffered = 2 * 1024 * 1024;
    Object.defineProperty(socket, 'bufferedAmount', { get: () => buffered });
    const answer = get();
    platform.send({ '@type': 'pairing-heartbeat', msgId: 'not answered' });
    // A ping comes back after everything that was sent before it.
    platform.socket.ping();
    await once(platform.socket, 'pong');
    expect(platform.types).toEqual(['pairing-response']);
    buffered = 0;
    expect((await answer).status).toBe(200);
  });

  it('takes no request that would not fit into a frame', async () => {
    start();
    await connect();
    await expect(get('x'.repeat(200_000))).rejects.toMatchObject({ code: 'invalid_request' });
  });

  it('lets sixteen sockets in for each endpoint', async () => {
    start();
    for (let i = 0; i < 16; i++) await connect();
    const more = await dial();
    expect((await more.closed)[0]).toBe(1013);
    await connect(second);
    expect(channel.states().map(({ sockets }) => sockets)).toEqual([16, 1]);
    platforms[0]?.socket.close();
    await platforms[0]?.closed;
    await connect();
  });

  it('closes a socket for which no pair can be had', async () => {
    start();
    present = () => Promise.reject(new MirrorError('database_unavailable', 'The database does not answer.'));
    const platform = await dial();
    expect((await platform.closed)[0]).toBe(1013);
    expect(errors.splice(0)).toMatchObject([{ code: 'database_unavailable' }]);
    expect(channel.states()[0]).toMatchObject({ state: 'waiting', lastError: expect.any(String) as string });
  });

  it('refuses everything once it is closed', async () => {
    start();
    const platform = await connect();
    platform.answer = () => undefined;
    const underWay = get();
    const waiting = get(undefined, second);
    await platform.until(() => platform.asked.length === 1);
    channel.close();
    await expect(underWay).rejects.toMatchObject(unavailable('is stopping'));
    await expect(waiting).rejects.toMatchObject(unavailable('is stopping'));
    await expect(get()).rejects.toMatchObject(unavailable('is stopping'));
    expect((await platform.closed)[0]).toBe(1001);
    expect((await (await dial()).closed)[0]).toBe(1013);
  });
});
