import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { manifestOf, noiseLayer, push } from '../../test/fixtures/image.ts';
import {
  adminBasic,
  adminHtpasswd,
  adminLogin,
  freePort,
  makeCertificate,
  startRegistry,
  type TestRegistry,
} from '../../test/fixtures/registry.ts';
import { newSecret } from '../../test/fixtures/secrets.ts';
import {
  answer,
  type Answerer,
  forward,
  type Seen,
  type StandIn,
  startProxy,
  startStandIn,
  type TestProxy,
} from '../../test/fixtures/stand-in.ts';
import type { Digest } from '../core/digest.ts';
import { allowAll } from '../lib/address.ts';
import type { MirrorError } from '../core/errors.ts';
import type { HostSettings } from '../lib/http.ts';
import { createRegistry } from './client.ts';
import type { Registry } from './registry.ts';

const signal = new AbortController().signal;
const login = adminLogin;
const wrong = { username: 'admin', password: newSecret('wrong password') };
const authorized = adminBasic;

const clients: Registry[] = [];
const standIns: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await Promise.all(standIns.splice(0).map((standIn) => standIn.stop()));
});

function createClient(
  hosts: Record<string, HostSettings> = {},
  proxy: { http?: string; https?: string } = {},
) {
  const client = createRegistry({ hosts: new Map(Object.entries(hosts)), proxy, policy: allowAll });
  clients.push(client);
  return client;
}
async function standIn(answerer: Answerer, tls?: { key: string; cert: string }): Promise<StandIn> {
  const started = await startStandIn(answerer, tls);
  standIns.push(started);
  return started;
}
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error as MirrorError,
  );

describe('basic authentication', () => {
  let locked: TestRegistry;
  beforeAll(async () => {
    locked = await startRegistry({ htpasswd: adminHtpasswd });
    await push(locked.url, 'app', 'v1', manifestOf([noiseLayer(1, 100)]), authorized);
  });
  afterAll(() => locked.stop());
  const look = (client: Registry, credential?: typeof login, host = locked.host) =>
    client.resolve({ registry: host, path: 'app', tag: 'v1' }, { credential, signal });

  it('logs in where the registry asks for it', async () => {
    expect(await look(createClient(), login)).toMatchObject({ size: expect.any(Number) as number });
  });

  it('tells a missing login from a wrong one, and shows neither', async () => {
    const client = createClient();
    expect(await failure(look(client))).toMatchObject({ code: 'login_required' });
    const error = await failure(look(client, wrong));
    expect(error).toMatchObject({ code: 'credentials_rejected' });
    expect(error?.message).not.toContain(wrong.password);
    expect(error?.message).not.toContain(Buffer.from(`admin:${wrong.password}`).toString('base64'));
  });

  it('sends the login unasked only to a registry that has asked before', async () => {
    const front = await standIn(forward(locked.url));
    const client = createClient();
    await look(client, login, front.host);
    await look(client, login, front.host);
    const sent = front.seen.map(({ headers }) => headers.authorization);
    expect(sent).toEqual([undefined, authorized.authorization, authorized.authorization]);
  });

  it('keeps logins apart: one caller’s is no other’s', async () => {
    const client = createClient();
    await look(client, login);
    expect(await failure(look(client))).toMatchObject({ code: 'login_required' });
  });
});

describe('a redirect', () => {
  const layer = noiseLayer(2, 5000);
  const digest = layer.digest as Digest;
  const serves: Answerer = (_, response) => answer(response, 200, layer.bytes);
  const to =
    (location: string, status = 307): Answerer =>
    (_, response) =>
      answer(response, status, '', { location });
  /** A registry that asks for a login and then does as told. */
  const lockedRegistry = (then: Answerer, tls?: { key: string; cert: string }) =>
    standIn(
      (seen, response) =>
        seen.headers.authorization === undefined
          ? answer(response, 401, '', { 'www-authenticate': 'Basic realm="x"' })
          : then(seen, response),
      tls,
    );
  async function read(client: Registry, registry: string) {
    const chunks: Uint8Array[] = [];
    const access = { credential: login, signal };
    for await (const chunk of await client.blob({ registry, path: 'app' }, digest, access))
      chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  it.each([301, 302, 303, 307, 308])(
    'of %i leads to the blob on another host, without the login',
    async (status) => {
      const store = await standIn(serves);
      const registry = await lockedRegistry(to(`${store.url}/bucket/1?sig=x`, status));
      expect((await read(createClient(), registry.host)).equals(layer.bytes)).toBe(true);
      expect(store.seen).toMatchObject([{ method: 'GET', path: '/bucket/1?sig=x' }]);
      expect(store.seen[0]?.headers.authorization).toBeUndefined();
    },
  );

  it('keeps the login on the same origin, and loses it for good on the way', async () => {
    const back: { url?: string } = {};
    const store = await standIn(({ path }, response) => to(`${back.url}/third`)({ path } as Seen, response));
    const registry = await lockedRegistry(({ path }, response) => {
      const next: Record<string, string> = { '/second': `${store.url}/elsewhere` };
      answer(response, 307, '', { location: next[path] ?? '/second' });
    });
    back.url = registry.url;
    await failure(read(createClient(), registry.host));
    const sent = registry.seen.map(({ path, headers }) => [path.slice(0, 7), headers.authorization]);
    expect(sent).toEqual([
      ['/v2/app', undefined],
      ['/v2/app', authorized.authorization],
      ['/second', authorized.authorization],
      ['/third', undefined],
    ]);
    expect(store.seen.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  it('to a stranger who asks for a login gives the stranger none', async () => {
    const thief = await standIn((_, response) => answer(response, 200, { token: 'x' }));
    const store = await standIn((_, response) =>
      answer(response, 401, '', { 'www-authenticate': `Bearer realm="${thief.url}/token"` }),
    );
    const registry = await lockedRegistry(to(store.url));
    const error = await failure(read(createClient(), registry.host));
    expect(error).toMatchObject({ code: 'protocol', message: expect.stringContaining(store.host) as string });
    expect(thief.seen).toEqual([]);
  });

  it('in a circle comes to an end', async () => {
    const registry = await standIn(({ path }, response) => to(path)({ path } as Seen, response));
    expect(await failure(read(createClient(), registry.host))).toMatchObject({ code: 'protocol' });
    expect(registry.seen).toHaveLength(6);
  });

  it('from HTTPS to plain HTTP is refused', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'dray-down-'));
    const { ca, ...tls } = makeCertificate(folder);
    const store = await standIn(serves);
    const registry = await lockedRegistry(to(store.url), tls);
    const client = createClient({ [registry.host]: { ca } });
    expect(await failure(read(client, registry.host))).toMatchObject({ code: 'protocol' });
    expect(store.seen).toEqual([]);
    rmSync(folder, { recursive: true });
  });

  it.each(['ftp://x/', 'http://[', 'data:,x'])('to %s is no registry’s', async (location) => {
    const registry = await lockedRegistry(to(location));
    expect(await failure(read(createClient(), registry.host))).toMatchObject({ code: 'protocol' });
  });

  it('does not take a push elsewhere', async () => {
    const elsewhere = await standIn((_, response) => answer(response, 201));
    const registry = await standIn(to(elsewhere.url));
    const manifest = { bytes: layer.bytes, digest, mediaType: layer.mediaType, size: layer.bytes.length };
    const put = createClient().putManifest({ registry: registry.host, path: 'a' }, 'v1', manifest, {
      signal,
    });
    expect(await failure(put)).toMatchObject({ code: 'protocol' });
    expect(elsewhere.seen).toEqual([]);
  });
});

describe('TLS', () => {
  let secure: TestRegistry;
  let other: TestRegistry;
  beforeAll(async () => {
    [secure, other] = await Promise.all([startRegistry({ tls: true }), startRegistry({ tls: true })]);
  });
  afterAll(() => Promise.all([secure.stop(), other.stop()]));
  const ping = (settings: HostSettings, host = secure.host) =>
    createClient({ [host]: settings }).ping(host, { signal });

  it('trusts a private CA where it is configured, for that host alone', async () => {
    expect(await ping({ ca: secure.caFile })).toBeInstanceOf(Date);
    const client = createClient({
      [secure.host]: { ca: secure.caFile },
      [other.host]: { ca: secure.caFile },
    });
    await client.ping(secure.host, { signal });
    const error = await failure(client.ping(other.host, { signal }));
    expect(error).toMatchObject({ code: 'tls', retryable: false });
    expect(error?.message).toMatch(/certificate/);
  });

  it('is not checked on an insecure host', async () => {
    expect(await ping({ insecure: true })).toBeInstanceOf(Date);
  });

  it('gives way to plain HTTP on an insecure host, with or without a login', async () => {
    const plain = await startRegistry({ htpasswd: adminHtpasswd });
    const client = createClient({ [plain.host]: { insecure: true } });
    expect(await client.ping(plain.host, { credential: login, signal })).toBeInstanceOf(Date);
    await plain.stop();
  });

  it('is what a host has where plain HTTP would do but a CA is configured', async () => {
    const plain = await startRegistry();
    expect(await failure(ping({ ca: secure.caFile }, plain.host))).toMatchObject({ code: 'tls' });
    await plain.stop();
  });

  it('is found again on an insecure host that was away', async () => {
    const client = createClient({ [other.host]: { insecure: true } });
    await other.pause();
    expect(await failure(client.ping(other.host, { signal }))).toMatchObject({ code: 'refused' });
    await other.start();
    expect(await client.ping(other.host, { signal })).toBeInstanceOf(Date);
  });
});

describe('a proxy', () => {
  const host = 'registry.test:5000';
  const open = async (proxy: Promise<TestProxy>) => {
    const started = await proxy;
    standIns.push(started);
    return started;
  };

  it('leads to a registry that this machine can’t reach', async () => {
    const server = await startRegistry();
    const image = await push(server.url, 'app', 'v1', manifestOf([noiseLayer(3, 100)]));
    const proxy = await open(startProxy(server.host));
    const client = createClient({ [host]: { insecure: true } }, { http: proxy.url, https: proxy.url });
    const found = await client.resolve({ registry: host, path: 'app', tag: 'v1' }, { signal });
    expect(found).toMatchObject({ digest: image.digest });
    // TLS first; this host is marked insecure and has none.
    expect(proxy.seen).toEqual([`CONNECT ${host}`, `HEAD http://${host}/v2/app/manifests/v1`]);
    await server.stop();
  });

  it('is no way around TLS for a host that is not marked insecure', async () => {
    const server = await standIn((_, response) => answer(response, 200));
    const proxy = await open(startProxy(server.host));
    const client = createClient({}, { http: proxy.url, https: proxy.url });
    expect(await failure(client.ping(host, { signal }))).toMatchObject({ code: 'tls' });
    expect(proxy.seen).toEqual([`CONNECT ${host}`]);
  });

  it('that breaks off the tunnel has reset the connection', async () => {
    const proxy = await open(startProxy(`127.0.0.1:${await freePort()}`));
    const ping = createClient({}, { https: proxy.url }).ping(host, { signal });
    expect(await failure(ping)).toMatchObject({ code: 'reset' });
  });

  it('that is away is named as refused, without its login', async () => {
    const proxy = `http://user:s3cr3t@127.0.0.1:${await freePort()}`;
    const error = await failure(createClient({}, { https: proxy }).ping(host, { signal }));
    expect(error).toMatchObject({ code: 'refused' });
    expect(error?.message).not.toContain('s3cr3t');
  });

  it.each([
    [407, false],
    [403, false],
    [502, true],
  ])('that answers %i is not taken for the registry', async (status, retryable) => {
    const proxy = createServer().on('connect', (_, socket) => {
      socket.end(`HTTP/1.1 ${status} No\r\nContent-Length: 0\r\n\r\n`);
    });
    await once(proxy.listen(0, '127.0.0.1'), 'listening');
    const { port } = proxy.address() as AddressInfo;
    const ping = createClient({}, { https: `http://127.0.0.1:${port}` }).ping(host, { signal });
    expect(await failure(ping)).toMatchObject({
      ...{ code: 'refused', retryable },
      message: expect.stringContaining(`The proxy answered ${status}`) as string,
    });
    proxy.close();
  });
});
