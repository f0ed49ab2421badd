import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  answer,
  type StandIn,
  startProxy,
  startStandIn,
  type TestProxy,
} from '../../test/fixtures/stand-in.ts';
import { allowAll, createAddressPolicy, type Lookup } from './address.ts';
import { createDispatchers, type Dispatchers, type HostSettings, type ProxySettings } from './http.ts';

const folder = mkdtempSync(join(tmpdir(), 'dray-http-'));
let server: StandIn;
let proxy: TestProxy;
const made: Dispatchers[] = [];
beforeAll(async () => {
  server = await startStandIn((_, response) => answer(response, 200, 'hello'));
});
beforeEach(async () => {
  proxy = await startProxy(server.host);
});
afterEach(async () => {
  await Promise.all(made.splice(0).map((dispatchers) => dispatchers.close()));
  await proxy.stop();
});
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

function create(settings: ProxySettings, hosts: Record<string, HostSettings> = {}): Dispatchers {
  const dispatchers = createDispatchers({
    hosts: new Map(Object.entries(hosts)),
    proxy: settings,
    isLocal: (host) => host.startsWith('127.'),
    policy: allowAll,
  });
  made.push(dispatchers);
  return dispatchers;
}

async function get(dispatchers: Dispatchers, address: string): Promise<string> {
  const url = new URL(address);
  const { body } = await request(url, { dispatcher: dispatchers.for(url, url.host) });
  return body.text();
}

describe('a proxy', () => {
  it.each(['http://', ''])(
    'is asked for plain HTTP with the whole URL, written with "%s"',
    async (scheme) => {
      const http = proxy.url.replace('http://', scheme);
      expect(await get(create({ http }), 'http://registry.test:5000/v2/?a=b')).toBe('hello');
      expect(proxy.seen).toEqual(['GET http://registry.test:5000/v2/?a=b']);
    },
  );

  it('gets its login from its URL, and the server behind it does not', async () => {
    const http = proxy.url.replace('http://', 'http://user:p%40ss@');
    await get(create({ http }), 'http://registry.test/');
    const login = Buffer.from('user:p@ss').toString('base64');
    expect(proxy.seen).toEqual([`GET http://registry.test/ Basic ${login}`]);
  });

  it('is chosen by the URL’s scheme', async () => {
    const dispatchers = create({ http: proxy.url });
    await get(dispatchers, 'https://registry.test/').catch(() => undefined);
    expect(proxy.seen).toEqual([]);
  });

  it('is never asked for this machine', async () => {
    expect(await get(create({ http: proxy.url, https: proxy.url }), `${server.url}/`)).toBe('hello');
    expect(proxy.seen).toEqual([]);
  });

  it.each([
    ['', 'http://registry.test/', true],
    ['*', 'http://registry.test/', false],
    ['registry.test', 'http://registry.test/', false],
    ['Registry.TEST', 'http://registry.test:5000/', false],
    ['registry.test', 'http://eu.registry.test/', false],
    ['.registry.test', 'http://eu.registry.test/', false],
    ['.registry.test', 'http://registry.test/', true],
    ['*.registry.test', 'http://eu.registry.test/', false],
    ['registry.test', 'http://myregistry.test/', true],
    ['registry.test:5000', 'http://registry.test:5000/', false],
    ['registry.test:5000', 'http://registry.test:5001/', true],
    ['registry.test:80', 'http://registry.test/', false],
    ['other.test, registry.test', 'http://registry.test/', false],
    ['other.test registry.test', 'http://registry.test/', false],
    ['test.registry', 'http://registry.test/', true],
    ['203.0.113.0/24', 'http://203.0.113.9/', false],
    ['203.0.113.9', 'http://203.0.113.9/', false],
    ['203.0.113.0/24', 'http://203.0.114.9/', true],
    ['2001:db8::/32', 'http://[2001:db8::1]/', false],
  ])('under NO_PROXY=%s and for %s is asked: %s', async (no, address, asked) => {
    await get(create({ http: proxy.url, no }), address).catch(() => undefined);
    expect(proxy.seen).toHaveLength(asked ? 1 : 0);
  });
});

describe('TLS through a proxy', () => {
  let secure: StandIn;
  let tunnel: TestProxy;
  const ca = join(folder, 'cert.pem');
  beforeAll(async () => {
    const key = join(folder, 'key.pem');
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    const name = ['-subj', '/CN=registry.test', '-addext', 'subjectAltName=DNS:registry.test'];
    const files = ['-keyout', key, '-out', ca];
    execFileSync('openssl', ['req', '-x509', '-days', '2', ...curve, ...name, ...files], { stdio: 'pipe' });
    secure = await startStandIn((_, response) => answer(response, 200, 'secret'), { key, cert: ca });
  });
  beforeEach(async () => {
    tunnel = await startProxy(secure.host);
  });
  afterEach(() => tunnel.stop());
  afterAll(() => secure.stop());

  it('runs in a tunnel of which the proxy sees the name only', async () => {
    const dispatchers = create({ https: tunnel.url }, { 'registry.test': { ca } });
    expect(await get(dispatchers, 'https://registry.test/v2/')).toBe('secret');
    expect(tunnel.seen).toEqual(['CONNECT registry.test:443']);
  });

  it('is checked by the host’s name', async () => {
    const dispatchers = create({ https: tunnel.url }, { 'other.test': { ca } });
    await expect(get(dispatchers, 'https://other.test/')).rejects.toMatchObject({
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    });
  });

  it('trusts a CA for no other host, and anything where a host is insecure', async () => {
    const hosts = { 'other.test': { ca }, 'insecure.test': { insecure: true } };
    const dispatchers = create({ https: tunnel.url }, hosts);
    await expect(get(dispatchers, 'https://registry.test/')).rejects.toMatchObject({
      code: 'DEPTH_ZERO_SELF_SIGNED_CERT',
    });
    expect(await get(dispatchers, 'https://insecure.test/')).toBe('secret');
  });
});

describe('connections', () => {
  it('are shared by hosts that are reached in the same way, and by no others', () => {
    const dispatchers = create({}, { 'a.test': { insecure: true }, 'b.test': { insecure: true } });
    const pool = (host: string) => dispatchers.for(new URL(`https://${host}`), host);
    expect(pool('a.test')).toBe(pool('b.test'));
    expect(pool('a.test')).not.toBe(pool('c.test'));
    expect(pool('c.test')).toBe(pool('d.test'));
  });

  it('are broken off by close', async () => {
    const silent = await startStandIn(() => undefined);
    const dispatchers = create({});
    const waiting = get(dispatchers, silent.url);
    await expect.poll(() => silent.seen.length).toBe(1);
    await Promise.all([dispatchers.close(), expect(waiting).rejects.toThrow()]);
    await silent.stop();
  });
});

describe('a policy', () => {
  const rules = { allow: [], named: [], loopback: false };
  /** Every name leads to these addresses. */
  const at = (...addresses: string[]): Lookup => {
    return (_, __, callback) =>
      callback(
        null,
        addresses.map((address) => ({ address, family: 4 })),
      );
  };
  function guarded(lookup: Lookup, named: string[] = [], settings: ProxySettings = {}): Dispatchers {
    const dispatchers = createDispatchers({
      ...{ hosts: new Map(), proxy: settings, lookup },
      isLocal: (host) => host.startsWith('127.'),
      policy: createAddressPolicy({ ...rules, named }),
    });
    made.push(dispatchers);
    return dispatchers;
  }
  const port = () => server.host.slice('127.0.0.1:'.length);

  it('is asked about what a name resolves to, and for each host apart', async () => {
    const dispatchers = guarded(at('127.0.0.1'), [`named.test:${port()}`]);
    const seen = server.seen.length;
    await expect(get(dispatchers, `http://rebound.test:${port()}/`)).rejects.toMatchObject({
      code: 'ADDRESS_REFUSED',
      message: 'rebound.test is at 127.0.0.1, a loopback address that this service does not go to',
    });
    expect(server.seen).toHaveLength(seen);
    expect(await get(dispatchers, `http://named.test:${port()}/`)).toBe('hello');
    await expect(get(dispatchers, `http://rebound.test:${port()}/`)).rejects.toThrow('rebound.test');
  });

  it('has a name’s other addresses tried', async () => {
    const lookup = at('10.255.255.1', '127.0.0.1');
    expect(await get(guarded(lookup, [`named.test:${port()}`]), `http://named.test:${port()}/`)).toBe(
      'hello',
    );
  });

  it('is asked about addresses that need no lookup, behind a proxy too', async () => {
    for (const settings of [{}, { http: proxy.url, https: proxy.url }])
      for (const url of [server.url, `http://2130706433:${port()}/`, 'https://10.0.0.1/', 'http://[::]/'])
        await expect(get(guarded(at(), [], settings), url)).rejects.toMatchObject({
          code: 'ADDRESS_REFUSED',
        });
    expect(proxy.seen).toEqual([]);
  });

  it('leaves names to the proxy, and has no say in where the proxy is', async () => {
    expect(await get(guarded(at('10.0.0.1'), [], { http: proxy.url }), 'http://registry.test/')).toBe(
      'hello',
    );
  });
});
