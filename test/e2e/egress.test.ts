import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { manifestOf, noiseLayer, push } from '../fixtures/image.ts';
import { machine, type Named, nameServers } from '../fixtures/machine-name.ts';
import { processesWith } from '../fixtures/processes.ts';
import { makeCertificate, startRegistry, type TestRegistry } from '../fixtures/registry.ts';
import { startService, type TestService } from '../fixtures/service.ts';
import { answer, type Answerer, forward, type StandIn, startStandIn } from '../fixtures/stand-in.ts';
import { fetchTree } from '../fixtures/tree.ts';
import type { ContainerAnswer, ContainerStatus } from '../fixtures/world.ts';

// Services that others can reach, and registries that want to lead them where they must not go.
let folder: string;
let source: TestRegistry;
let target: TestRegistry;
let secure: TestRegistry;
/** What stands in this machine's or the cloud's network and must never be asked. */
let victim: StandIn;
/** Registries that are real ones but for what a test has put here: where a path is said to be. */
const elsewhere = new Map<string, string>();
let evil: StandIn;
let evilTls: StandIn;
let evilCa: string;
let evilTarget: StandIn;
/** Registries that ask for tokens from these realms. */
const realms = new Map<string, StandIn>();
/** Names no registry. */
let strict: TestService;
/** Names all of the above but the victim. */
let service: TestService;
const everything: { stop(): Promise<unknown> }[] = [];

async function serve(name: string, settings: string, env = {}): Promise<TestService> {
  const file = join(folder, `${name}.yaml`);
  await writeFile(file, settings);
  const started = await startService(join(folder, name), {
    ...{ DRAY_CONFIG: file, DRAY_HOST: '0.0.0.0', PASSWORD: 's3cr3t', ...env },
  });
  everything.push(started);
  return { ...started, url: started.url.replace('0.0.0.0', '127.0.0.1') };
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dray-egress-'));
  [source, target, secure, victim] = await Promise.all([
    startRegistry(),
    startRegistry(),
    startRegistry({ tls: true }),
    startStandIn((_, response) => answer(response, 200, 'secret')),
  ]);
  const redirecting: Answerer = (seen, response) => {
    if (seen.method === 'GET' && /\/never\/.*\/blobs\//.test(seen.path)) return;
    const location = [...elsewhere].find(([part]) => seen.path.includes(part))?.[1];
    return seen.method !== 'HEAD' && location !== undefined
      ? answer(response, 307, '', { location })
      : forward(source.url)(seen, response);
  };
  const { ca, ...tls } = makeCertificate(folder, ['IP:127.0.0.1', 'DNS:localhost', `DNS:${machine}`]);
  evilCa = ca;
  [evil, evilTls, evilTarget] = await Promise.all([
    startStandIn((seen, response) => {
      const place = /^\/v2\/to\/(.*)\/manifests/.exec(seen.path)?.[1];
      if (place === undefined) return redirecting(seen, response);
      answer(response, 307, '', { location: Buffer.from(place, 'hex').toString() });
    }),
    startStandIn(redirecting, tls),
    startStandIn((seen, response) =>
      seen.method === 'POST'
        ? answer(response, 202, '', { location: 'http://10.255.255.1/admin' })
        : forward(target.url)(seen, response),
    ),
  ]);
  everything.push(source, target, secure, victim, evil, evilTls, evilTarget);
  const challenging = async (realm: string) => {
    const registry = await startStandIn((_, response) =>
      answer(response, 401, '', { 'www-authenticate': `Bearer realm="${realm}",service="x"` }),
    );
    everything.push(registry);
    realms.set(realm, registry);
    return registry.host;
  };
  const open = ['https://10.1.2.3/token', 'https://169.254.169.254/token', `${victim.url}/token`];
  const locked = ['https://auth.example/token', `${victim.url}/login`];
  const names = [source, target, evil, evilTarget].map(({ host }) => host);
  const entries = [
    ...[...names, ...(await Promise.all(open.map(challenging)))].map((host) => ({ host })),
    ...(await Promise.all(locked.map(challenging))).map((host) => ({
      ...{ host, username: 'robot', password: { env: 'PASSWORD' } },
    })),
    // Names, for Go: Skopeo reaches them through the guard.
    ...[source, target, secure].map((each) => ({ host: otherwise(each), insecure: true })),
    { host: evilTls.host, ca },
    { host: secure.host, ca: secure.caFile },
  ];
  [strict, service] = await Promise.all([
    serve('strict', ''),
    // JSON is YAML.
    serve('service', JSON.stringify({ registries: entries })),
  ]);
  await image('here');
});
afterEach(() => expect(victim.seen.splice(0)).toEqual([]));
afterAll(async () => {
  await Promise.all(everything.toReversed().map((each) => each.stop()));
  await rm(folder, { recursive: true });
});

async function submit({ url, key }: TestService, containerImage: string, buildRepository = target.host) {
  const reply = await fetch(`${url}/v1alpha2/container`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ mirror: true, containerImage, buildRepository, towerAccessToken: key }),
  });
  return { status: reply.status, body: (await reply.json()) as ContainerAnswer };
}

/** Submits, waits for the end of the copy and tells how it went. */
async function mirror(from: string, to?: string, at = service) {
  const { status, body } = await submit(at, from, to);
  expect(status, JSON.stringify(body)).toBe(200);
  const headers = { authorization: `Bearer ${at.key}` };
  const get = (path: string) => fetch(`${at.url}${path}`, { headers });
  for (;;) {
    const asked = await get(`/v1alpha2/container/${body.requestId}/status`);
    if (((await asked.json()) as ContainerStatus).status === 'DONE') break;
    await sleep(50);
  }
  const seen = await (await get(`/v1/mirrors/${body.buildId}`)).json();
  const { state, failure } = seen as { state: string; failure?: { message: string; code: string } };
  return { state, failure, log: await (await get(`/v1alpha1/mirrors/${body.buildId}/logs`)).text() };
}

/** The same address, written otherwise. */
const otherwise = ({ host }: { host: string }) => host.replace('127.0.0.1', '0x7f.1');

let seed = 77_000;
const image = (path: string) => push(source.url, path, '1', manifestOf([noiseLayer(++seed, 20_000)]));

describe('a service that others can reach', () => {
  it.each([
    '127.0.0.1:PORT',
    'localhost:PORT',
    '127.1:PORT',
    '2130706433:PORT',
    '0x7f000001:PORT',
    '0177.0.0.1:PORT',
    '[::1]:PORT',
    '[::ffff:7f00:1]:PORT',
    '[64:ff9b::7f00:1]:PORT',
    '0.0.0.0:PORT',
    '169.254.169.254:80',
    '100.100.100.200',
    '[fd00:ec2::254]',
    '10.0.0.1',
    '192.168.1.1:5000',
    '224.0.0.1:5000',
  ])('asks no registry at %s', async (host) => {
    const at = host.replace('PORT', victim.host.slice(10));
    const { status, body } = await submit(strict, `${at}/here:1`, 'registry.example');
    expect([status, body.code, body.side], body.message).toEqual([400, 'address_refused', 'source']);
    expect(body.message).toContain('that this service does not go to');
  });
});

describe('a registry that is named in dray.yaml', () => {
  it('may be private, and another port of the same host may not', async () => {
    expect(await mirror(`${source.host}/here:1`)).toMatchObject({ state: 'done' });
    const refused = await submit(service, `${source.host}/here:1`, victim.host);
    expect(refused).toMatchObject({ status: 400, body: { code: 'address_refused', side: 'target' } });
  });

  it.each([
    'http://169.254.169.254/latest/meta-data/iam/',
    'https://10.1.2.3/',
    'http://VICTIM/',
    'http://0x7f.1:PORT/',
    'http://localhost:PORT/',
    'http://[::ffff:127.0.0.1]:PORT/',
  ])('leads the service by no redirect to %s', async (to) => {
    const location = to.replace('VICTIM', victim.host).replace('PORT', victim.host.slice(10));
    const { status, body } = await submit(
      service,
      `${evil.host}/to/${Buffer.from(location).toString('hex')}:1`,
    );
    expect([status, body.code, body.side], body.message).toEqual([400, 'address_refused', 'source']);
  });

  it('leads the service to no token server inside', async () => {
    for (const [realm, { host }] of realms) {
      if (realm.endsWith('/login') || realm.includes('auth.example')) continue;
      const { status, body } = await submit(service, `${host}/app:1`);
      expect([status, body.code, body.side], body.message).toEqual([400, 'address_refused', 'source']);
    }
  });

  it('gets its login sent to no other host', async () => {
    for (const realm of ['https://auth.example/token', `${victim.url}/login`]) {
      const { host, seen } = realms.get(realm) as StandIn;
      const { status, body } = await submit(service, `${host}/app:1`);
      expect([status, body.code, body.side], body.message).toEqual([400, 'token_server_refused', 'source']);
      expect(body.message).toContain(new URL(realm).host);
      expect(seen.map(({ headers }) => headers.authorization)).toEqual([undefined]);
    }
  });
});

describe('Skopeo', () => {
  it.each([
    ['plain HTTP', () => target],
    ['TLS', () => secure],
  ])('copies through the guard by plain HTTP, and on by %s', async (_, to) => {
    const path = `through/${++seed}`;
    const pushed = await image(path);
    const [from, on] = [source, to()].map(otherwise);
    expect(await mirror(`${from}/${path}:1`, on)).toMatchObject({ state: 'done' });
    const list = await fetchTree(source.url, path, pushed.digest);
    if (to() === target) expect(await fetchTree(target.url, path, '1')).toEqual(list);
  });

  it.each([
    ['http://10.255.255.1/x', '10.255.255.1 is a private address'],
    ['https://10.255.255.1/x', '10.255.255.1 is a private address'],
    ['http://169.254.169.254/x', '169.254.169.254 is a metadata address'],
    // Go takes these for names, which its own resolver would look up.
    ['http://0x7f.1:PORT/x', '127.0.0.1 is a loopback address'],
    ['https://0x7f.1:PORT/x', '127.0.0.1 is a loopback address'],
  ])('does not follow the redirect of a layer to %s', async (to, why) => {
    const path = `layer/${++seed}`;
    const pushed = await image(path);
    elsewhere.set(`/blobs/${pushed.children[1]?.digest}`, to.replace('PORT', victim.host.slice(10)));
    const { state, failure, log } = await mirror(`${evil.host}/${path}:1`);
    expect({ state, failure }).toMatchObject({
      state: 'failed',
      failure: { code: 'address_refused', side: 'source', retryable: false },
    });
    expect(failure?.message).toContain(why);
    // The secret that lets Skopeo through the guard.
    expect(log).toContain('Copying');
    expect(log + service.output()).not.toMatch(/(?<![0-9a-f])[0-9a-f]{48}(?![0-9a-f])/);
  });

  it('does not push where a registry says that an upload goes on', async () => {
    const path = `upload/${++seed}`;
    await image(path);
    expect(await mirror(`${source.host}/${path}:1`, evilTarget.host)).toMatchObject({
      state: 'failed',
      failure: { code: 'address_refused', side: 'target' },
    });
  });

  it('is not led from HTTPS to plain HTTP on this machine, where Go uses no proxy', async () => {
    await image('down/before');
    expect(await mirror(`${evilTls.host}/down/before:1`, secure.host)).toMatchObject({ state: 'done' });
    const pushed = await image('down/after');
    elsewhere.set(`/blobs/${pushed.children[1]?.digest}`, `${victim.url}/x`);
    const { state, failure } = await mirror(`${evilTls.host}/down/after:1`, secure.host);
    expect({ state, failure }).toMatchObject({
      state: 'failed',
      failure: { code: 'protocol', side: 'source' },
    });
    expect(failure?.message).toContain(`on to plain HTTP at ${victim.host}`);
  });
});

/** Whether this machine lets us make a network namespace, said in its own words. */
const refusal = [
  ['--net', 'ip', 'link', 'set', 'lo', 'up'],
  ['--user', '--map-current-user', '--keep-caps', '--net', 'ip', 'link', 'set', 'lo', 'up'],
]
  .map((args) => spawnSync('unshare', args, { encoding: 'utf8' }))
  .reduce((said, { status, stderr, error }) => (status === 0 ? '' : said && (stderr || String(error))), '-');

describe.each([
  ['in a network namespace of its own', false],
  ['where none can be had', true],
])('Skopeo of a service that names nothing on loopback, %s', (_, falls) => {
  const name = falls ? 'shared' : 'apart';
  let apart: TestService;
  let named: Named | undefined;
  /** Why nothing could be named. */
  let unnamed = '';
  const byName = (server: { host: string }) => named?.of(server) ?? '';
  /** Takes every connection, and has nothing. */
  const silent = http.createServer((_request, response) => response.writeHead(404).end());
  let met = 0;
  silent.on('connection', () => met++);

  const start = () =>
    serve(
      name,
      JSON.stringify({
        registries: [
          ...[source, target, evil].map((each) => ({ host: byName(each), insecure: true })),
          { host: byName(evilTls), ca: evilCa },
        ],
      }),
      falls ? { PATH: `${join(folder, 'bin')}:${process.env['PATH']}` } : {},
    );
  beforeAll(async () => {
    await mkdir(join(folder, 'bin'), { recursive: true });
    const script = '#!/bin/sh\necho "unshare failed: Operation not permitted" >&2\nexit 1\n';
    await writeFile(join(folder, 'bin/unshare'), script, { mode: 0o755 });
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    try {
      named = await nameServers(source, target, evil, evilTls);
    } catch (error) {
      unnamed = String(error);
    }
    if (unnamed === '') apart = await start();
  });
  beforeEach(({ skip }) => skip(unnamed !== '', `this machine has no name that leads to it: ${unnamed}`));
  beforeEach(({ skip }) => skip(!falls && refusal !== '', `no network namespaces here: ${refusal}`));
  afterAll(() => {
    silent.close();
    named?.stop();
  });

  it('says so at the start', () => {
    const warnings = apart.output().match(/.*docs\/security.md.*/g) ?? [];
    expect(warnings).toHaveLength(falls ? 1 : 0);
    if (falls)
      expect(JSON.parse(warnings[0] ?? '')).toMatchObject({
        reason: expect.stringContaining('permitted') as string,
      });
  });

  it.each(['plain', 'secure'])('copies from a %s registry, byte for byte', async (scheme) => {
    const path = `apart/${++seed}`;
    const pushed = await push(source.url, path, '1', manifestOf([noiseLayer(seed, 3_000_000)]));
    const from = byName(scheme === 'plain' ? source : evilTls);
    expect(await mirror(`${from}/${path}:1`, byName(target), apart)).toMatchObject({ state: 'done' });
    expect(await fetchTree(target.url, path, '1')).toEqual(await fetchTree(source.url, path, pushed.digest));
  });

  it.each([
    ['plain', 'http'],
    ['plain', 'https'],
    ['secure', 'http'],
    ['secure', 'https'],
  ])(
    `led by a %s registry to %s on this machine, ${falls ? 'may arrive' : 'never arrives'}`,
    async (kind, scheme) => {
      const path = `led/${++seed}`;
      const pushed = await image(path);
      const { port } = silent.address() as AddressInfo;
      elsewhere.set(`/blobs/${pushed.children[1]?.digest}`, `${scheme}://127.0.0.1:${port}/x`);
      met = 0;
      const from = byName(kind === 'plain' ? evil : evilTls);
      const { state, failure } = await mirror(`${from}/${path}:1`, byName(target), apart);
      expect([state, failure?.code]).toEqual([
        'failed',
        !falls ? 'address_refused' : scheme === 'http' ? 'blob_unknown' : 'tls',
      ]);
      // The target is insecure: plain HTTP is spoken.
      expect(met > 0).toBe(falls);
    },
  );

  it('leaves nothing behind when the service ends or is killed, and starts again', async () => {
    const runDir = join(folder, name, 'run');
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      const path = `never/${++seed}`;
      await image(path);
      const { status } = await submit(apart, `${byName(evil)}/${path}:1`, byName(target));
      expect(status).toBe(200);
      while (processesWith(join(runDir, 'mr-')).length === 0) await sleep(20);
      if (!falls) expect((await stat(join(runDir, 'guard'))).mode & 0o777).toBe(0o600);
      const asked = performance.now();
      await apart.stop(signal);
      while (processesWith(runDir).length > 0) await sleep(20);
      expect(performance.now() - asked).toBeLessThan(3000);
      if (signal === 'SIGTERM') expect(await readdir(runDir)).toEqual([]);
      apart = await start();
    }
  });
});
