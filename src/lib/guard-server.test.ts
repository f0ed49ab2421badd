import http from 'node:http';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  answer,
  type StandIn,
  startProxy,
  startStandIn,
  type TestProxy,
} from '../../test/fixtures/stand-in.ts';
import { createAddressPolicy, type Lookup } from './address.ts';
import { type GuardServer, serveGuard } from './guard-server.ts';
import type { ProxySettings } from './http.ts';

let server: StandIn;
let port: string;
const guards: GuardServer[] = [];
beforeAll(async () => {
  server = await startStandIn(({ method, path, headers, body }, response) => {
    if (path === '/silent') return;
    response.setHeader('www-authenticate', ['Basic realm="a"', 'Bearer realm="b"']);
    answer(response, 200, { method, path, headers, body: body.toString() });
  });
  port = server.host.slice('127.0.0.1:'.length);
});
afterEach(async () => {
  await Promise.all(guards.splice(0).map((guard) => guard.close()));
});
afterAll(() => server.stop());

/** Every name leads to loopback, which only good.test may. */
const lookup: Lookup = (name, _, callback) =>
  name === 'none.test'
    ? callback(Object.assign(new Error(), { code: 'ENOTFOUND' }), [])
    : callback(null, [{ address: name === 'private.test' ? '10.1.2.3' : '127.0.0.1', family: 4 }]);

async function start(proxy: ProxySettings = {}): Promise<GuardServer> {
  const policy = createAddressPolicy({ allow: ['good.test'], named: [], loopback: false });
  const guard = await serveGuard({ policy, proxy, lookup });
  guards.push(guard);
  return guard;
}

let passes = 0;
function admit(guard: GuardServer) {
  const secret = `secret-${++passes}`;
  guard.admit(secret);
  return { via: new URL(`http://dray:${secret}@127.0.0.1:${guard.port}`), end: () => guard.end(secret) };
}
const login = ({ username, password }: URL) => ({
  'proxy-authorization': `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`,
});

/** The answer to an absolute-form request. */
async function ask(via: URL, url: string, options: http.RequestOptions = {}, body = '') {
  const headers = { ...login(via), ...(options.headers as http.OutgoingHttpHeaders) };
  const asked = http.request({
    ...{ host: via.hostname, port: via.port, path: url, agent: false, ...options, headers },
  });
  asked.end(body);
  const [answered] = (await once(asked, 'response')) as [http.IncomingMessage];
  const { statusCode: status, statusMessage: reason, headersDistinct: got } = answered;
  return { status, reason, headers: got, body: await text(answered) };
}

/** The socket that a CONNECT opens, with what was answered to it. */
async function tunnel(via: URL, authority: string) {
  const asked = http.request({
    ...{ host: via.hostname, port: via.port, method: 'CONNECT', path: authority, headers: login(via) },
    agent: false,
  });
  asked.end();
  const [answered, socket] = (await once(asked, 'connect')) as [http.IncomingMessage, Socket];
  socket.on('error', () => undefined);
  return { status: answered.statusCode, reason: answered.statusMessage, socket };
}

describe('a tunnel', () => {
  it('leads to a host that is allowed, both ways', async () => {
    const { status, socket } = await tunnel(admit(await start()).via, `good.test:${port}`);
    expect(status).toBe(200);
    socket.write('GET /through HTTP/1.1\r\nHost: good.test\r\nConnection: close\r\n\r\n');
    expect(await text(socket)).toContain('"path":"/through"');
  });

  it.each([
    ['other.test', 'other.test is at 127.0.0.1, a loopback address that this service does not go to'],
    ['private.test', 'private.test is at 10.1.2.3, a private address that this service does not go to'],
    ['10.255.255.1', '10.255.255.1 is a private address that this service does not go to'],
    ['127.0.0.1', '127.0.0.1 is a loopback address that this service does not go to'],
    ['0x7f.1', '127.0.0.1 is a loopback address that this service does not go to'],
    ['2130706433', '127.0.0.1 is a loopback address that this service does not go to'],
    ['[::ffff:127.0.0.1]', '[::ffff:7f00:1] is a loopback address that this service does not go to'],
    ['169.254.169.254', '169.254.169.254 is a metadata address that this service does not go to'],
    ['0', '0.0.0.0 is an unspecified address that this service does not go to'],
  ])('to %s is refused in words that Go prints', async (host, words) => {
    const seen = server.seen.length;
    const pass = admit(await start());
    expect(await tunnel(pass.via, `${host}:${port}`)).toMatchObject({ status: 403, reason: words });
    expect(pass.end()).toBe(words);
    expect(server.seen).toHaveLength(seen);
  });

  it('that fails says why, as Go would', async () => {
    const pass = admit(await start());
    expect(await tunnel(pass.via, 'none.test:443')).toMatchObject({ status: 502, reason: 'no such host' });
    expect(await tunnel(pass.via, 'good.test:1')).toMatchObject({
      status: 502,
      reason: 'connection refused',
    });
    expect(pass.end()).toBeUndefined();
  });

  it.each(['good.test', 'a@good.test:80', 'good.test:80/x', '[::1', ''])('to "%s" is none', async (to) => {
    const pass = admit(await start());
    const via = pass.via;
    const socket = connect(Number(via.port), '127.0.0.1');
    const header = `proxy-authorization: ${login(via)['proxy-authorization']}`;
    socket.write(`CONNECT ${to} HTTP/1.1\r\nHost: x\r\n${header}\r\n\r\n`);
    expect(await text(socket)).toMatch(/^HTTP\/1.1 400 /);
  });

  it('ends at both ends when one is lost', async () => {
    const ends: Socket[] = [];
    const silent = createServer((socket) => ends.push(socket.on('error', () => undefined)));
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const to = `good.test:${(silent.address() as AddressInfo).port}`;
    const via = admit(await start()).via;
    const first = await tunnel(via, to);
    await expect.poll(() => ends.length).toBe(1);
    first.socket.destroy();
    await expect.poll(() => ends[0]?.destroyed).toBe(true);
    const second = await tunnel(via, to);
    await expect.poll(() => ends.length).toBe(2);
    ends[1]?.resetAndDestroy();
    await once(second.socket.resume(), 'close');
    silent.close();
  });
});

describe('plain HTTP', () => {
  it('is passed on with its body, without what was for the guard', async () => {
    const via = admit(await start()).via;
    const headers = { 'transfer-encoding': 'chunked', 'x-mine': '1', connection: 'x-hop', 'x-hop': '2' };
    const {
      status,
      headers: got,
      body,
    } = await ask(via, `http://good.test:${port}/v2/a?b=c`, { method: 'PATCH', headers }, 'layer');
    expect(status).toBe(200);
    expect(got['www-authenticate']).toEqual(['Basic realm="a"', 'Bearer realm="b"']);
    const seen = JSON.parse(body) as { headers: http.IncomingHttpHeaders };
    expect(seen).toMatchObject({ method: 'PATCH', path: '/v2/a?b=c', body: 'layer' });
    expect(seen.headers).toMatchObject({ host: `good.test:${port}`, 'x-mine': '1' });
    expect(Object.keys(seen.headers)).not.toEqual(
      expect.arrayContaining([expect.stringMatching(/^proxy-|x-hop/)]),
    );
  });

  it('to a forbidden address is refused, whatever the name is', async () => {
    const pass = admit(await start());
    for (const host of ['other.test', '10.0.0.1', '0x7f.1', '[::1]']) {
      const { status, reason } = await ask(pass.via, `http://${host}:${port}/`);
      expect([status, reason]).toEqual([403, expect.stringContaining('does not go to')]);
    }
    expect(pass.end()).toContain('other.test is at 127.0.0.1');
  });

  it('that fails is a bad gateway', async () => {
    const via = admit(await start()).via;
    expect(await ask(via, 'http://good.test:1/')).toMatchObject({ status: 502 });
  });

  it.each([
    'HTTP/1.1 000 OK\r\nContent-Length: 0',
    'HTTP/1.1 200 a\x01b\r\nContent-Length: 0',
    'HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x',
    'nonsense',
  ])('that is answered %j is a bad gateway', async (head) => {
    const odd = createServer((socket) => {
      socket.on('error', () => undefined).once('data', () => socket.end(`${head}\r\n\r\n`, 'latin1'));
    });
    await once(odd.listen(0, '127.0.0.1'), 'listening');
    const via = admit(await start()).via;
    const { status } = await ask(via, `http://good.test:${(odd.address() as AddressInfo).port}/`);
    odd.close();
    expect(status).toBe(502);
  });

  it.each(['https://good.test/', '/', 'ftp://good.test/'])('is not %s', async (url) => {
    expect(await ask(admit(await start()).via, url)).toMatchObject({ status: 400 });
  });
});

describe('a pass', () => {
  it('is needed', async () => {
    const via = admit(await start()).via;
    const stranger = new URL(via);
    for (const password of ['', 'x', via.password.slice(1)]) {
      stranger.password = password;
      expect(await ask(stranger, `http://good.test:${port}/`)).toMatchObject({ status: 407 });
      expect(await tunnel(stranger, `good.test:${port}`)).toMatchObject({ status: 407 });
    }
  });

  it('is good for one child until its end, which breaks off what it left open', async () => {
    const guard = await start();
    const [mine, yours] = [admit(guard), admit(guard)];
    const [left, other] = [
      await tunnel(mine.via, `good.test:${port}`),
      await tunnel(yours.via, `good.test:${port}`),
    ];
    const asking = ask(mine.via, `http://good.test:${port}/silent`);
    const broken = expect(asking).rejects.toThrow();
    await expect.poll(() => server.seen.at(-1)?.path).toBe('/silent');
    const closed = once(left.socket.resume(), 'close');
    mine.end();
    await Promise.all([closed, broken]);
    expect(await ask(mine.via, `http://good.test:${port}/`)).toMatchObject({ status: 407 });
    expect(other.socket.destroyed).toBe(false);
    other.socket.destroy();
  });

  it('is good for so many connections at once', async () => {
    const via = admit(await start()).via;
    const opened = await Promise.all(Array.from({ length: 64 }, () => tunnel(via, `good.test:${port}`)));
    expect(opened.map(({ status }) => status)).toEqual(Array.from({ length: 64 }, () => 200));
    expect(await tunnel(via, `good.test:${port}`)).toMatchObject({ status: 429 });
    opened[0]?.socket.destroy();
    await expect.poll(async () => (await tunnel(via, `good.test:${port}`)).status).toBe(200);
    for (const { socket } of opened) socket.destroy();
  });
});

it('is closed with everything that is open', async () => {
  const guard = await start();
  const { socket } = await tunnel(admit(guard).via, `good.test:${port}`);
  const closed = once(socket.resume(), 'close');
  await guard.close();
  await closed;
});

describe('behind the operator’s proxy', () => {
  let proxy: TestProxy;
  beforeAll(async () => {
    proxy = await startProxy(server.host);
  });
  afterAll(() => proxy.stop());
  const throughProxy = async (no = '') => {
    proxy.seen.length = 0;
    const url = proxy.url.replace('http://', 'http://user:p%40ss@');
    return admit(await start({ http: url, https: url, no })).via;
  };
  const basic = `Basic ${Buffer.from('user:p@ss').toString('base64')}`;

  it('goes on through it, logged in, and lets it resolve names', async () => {
    const via = await throughProxy();
    const { status, socket } = await tunnel(via, 'private.test:443');
    expect(status).toBe(200);
    socket.write('GET /on HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    expect(await text(socket)).toContain('"path":"/on"');
    expect((await ask(via, 'http://private.test/plain')).body).toContain('"path":"/plain"');
    expect(proxy.seen).toEqual([
      `CONNECT private.test:443 ${basic}`,
      `GET http://private.test/plain ${basic}`,
    ]);
  });

  it('refuses addresses by itself', async () => {
    const via = await throughProxy();
    expect(await tunnel(via, '10.0.0.1:443')).toMatchObject({ status: 403 });
    expect(await ask(via, 'http://169.254.169.254/')).toMatchObject({ status: 403 });
    expect(proxy.seen).toEqual([]);
  });

  it('goes past it where NO_PROXY says so, and checks again', async () => {
    const via = await throughProxy('.test');
    expect(await tunnel(via, 'private.test:443')).toMatchObject({ status: 403 });
    expect(await ask(via, `http://good.test:${port}/x`)).toMatchObject({ status: 200 });
    expect(proxy.seen).toEqual([]);
  });

  it('says that it was the proxy who refused', async () => {
    const locked = http.createServer().on('connect', (_, socket: Socket) => {
      socket.end('HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n');
    });
    await once(locked.listen(0, '127.0.0.1'), 'listening');
    const url = `http://127.0.0.1:${(locked.address() as AddressInfo).port}`;
    const via = admit(await start({ https: url })).via;
    expect(await tunnel(via, 'a.test:443')).toMatchObject({ status: 502, reason: 'The proxy answered 407' });
    locked.close();
  });
});
