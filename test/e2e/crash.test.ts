import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDray } from '../fixtures/command.ts';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { manifestOf, noiseLayer, platformsIndex, push } from '../fixtures/image.ts';
import { processesWith } from '../fixtures/processes.ts';
import { fetchTree } from '../fixtures/tree.ts';
import { type ContainerStatus, createWorld, type World } from '../fixtures/world.ts';

let world: World;
let gate: Gate;
beforeAll(async () => {
  world = await createWorld({ settings: 'freshness: 0\nsubmitBudget: 3\n' });
  gate = await startGate(world.source.host);
});
afterAll(async () => {
  await gate.stop();
  await world.stop();
});

const runDir = () => join(world.dataDir, 'run');
const filesLeft = () => (existsSync(runDir()) ? readdirSync(runDir()) : []);
let seed = 3000;

/** Asks for an image of eight platforms and waits until its copy hangs in the middle: at the sixth layer. */
async function hangingCopy(path: string) {
  const image = await push(world.source.url, path, '1', platformsIndex(++seed));
  const layer = [...image.contents.values()].filter(({ mediaType }) => mediaType.includes('layer'))[5];
  const rule = gate.add(new RegExp(`^GET /v2/${path}/blobs/${layer?.digest ?? ''}`), { kind: 'hold' });
  const { body } = await world.submit(`${gate.host}/${path}:1`);
  await rule.met;
  expect(processesWith(runDir()).length).toBeGreaterThan(0);
  return { image, rule, requestId: body.requestId, path };
}

async function arrivesWhole({ path, requestId, image }: Awaited<ReturnType<typeof hangingCopy>>) {
  expect(await world.finished(requestId)).toMatchObject({ succeeded: true });
  expect(await fetchTree(world.target.url, path, '1')).toEqual(
    await fetchTree(world.source.url, path, image.digest),
  );
}

const status = async (requestId: string) =>
  (await world.call<ContainerStatus>('GET', `/v1alpha2/container/${requestId}/status`)).body;

describe('a service that ends in the middle of a copy', () => {
  it('on SIGTERM exits with 0, leaves nothing running, and goes on at the next start', async () => {
    const copy = await hangingCopy('term');
    expect(await world.service.stop('SIGTERM')).toBe(0);
    expect(processesWith(runDir())).toEqual([]);
    expect(filesLeft()).toEqual([]);
    copy.rule.release();
    await world.restart();
    await arrivesWhole(copy);
  });

  it('by kill -9 takes its Skopeo with it, and goes on at the next start, without a layer twice', async () => {
    const copy = await hangingCopy('kill');
    await world.service.stop('SIGKILL');
    expect(filesLeft().length).toBe(1);
    copy.rule.release();
    await world.restart();
    expect(await status(copy.requestId)).toMatchObject({ id: copy.requestId });
    await arrivesWhole(copy);
    expect(processesWith(runDir())).toEqual([]);
    expect(filesLeft()).toEqual([]);
    const uploads = world.target.log().match(/"PUT \/v2\/kill\/blobs\/uploads\/[^"]*digest=[^"&]*/g) ?? [];
    const digests = uploads.map((line) => /digest=([^&\s]*)/.exec(line)?.[1]);
    expect(digests.length).toBeGreaterThan(8);
    expect(digests.length).toBe(new Set(digests).size);
  });

  it('a killed Skopeo is started again, and the log tells of it', async () => {
    const copy = await hangingCopy('skopeo');
    const pids = processesWith(join(runDir(), 'mr-'));
    expect(pids.length).toBe(1);
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    copy.rule.release();
    await arrivesWhole(copy);
    const { mirrorId } = await status(copy.requestId);
    const authorization = `Bearer ${world.service.key}`;
    const { body } = await world.call('GET', `/v1/mirrors/${mirrorId}`, undefined, { authorization });
    // A try that brought a layer there counts for nothing.
    expect(body).toMatchObject({ state: 'done', attempts: 1 });
    const log = await world.call<string>('GET', `/v1alpha1/mirrors/${mirrorId}/logs`, undefined, {
      authorization,
    });
    expect(log.body).toContain('SIGKILL');
  });
});

it('a mirror whose job is gone is taken up again at the next start', async () => {
  const copy = await hangingCopy('jobless');
  await world.service.stop('SIGKILL');
  const database = await PGlite.create({ dataDir: join(world.dataDir, 'db') });
  await database.exec('delete from pgboss.job');
  await database.close();
  copy.rule.release();
  await world.restart();
  await arrivesWhole(copy);
});

it('when no administrator key is left, the next start makes one', async () => {
  const admin = { authorization: `Bearer ${world.service.key}` };
  const { body } = await world.call<{ keys: { id: string }[] }>('GET', '/v1/keys', undefined, admin);
  for (const { id } of body.keys) await world.call('DELETE', `/v1/keys/${id}`, undefined, admin);
  expect((await world.call('GET', '/v1/keys', undefined, admin)).status).toBe(401);
  const before = world.service.key;
  await world.service.stop();
  await world.restart();
  expect(world.service.key).not.toBe(before);
  const fresh = { authorization: `Bearer ${world.service.key}` };
  expect((await world.call('GET', '/v1/keys', undefined, fresh)).status).toBe(200);
});

it('a second process on the same data folder is refused before it touches anything, and the first goes on', async () => {
  const copy = await hangingCopy('second');
  /** Every file but those that a running database writes, with its time. */
  const files = () =>
    readdirSync(world.dataDir, { recursive: true, encoding: 'utf8' })
      .filter((name) => !name.startsWith('db/'))
      .map((name) => `${name} ${statSync(join(world.dataDir, name)).mtimeMs}`);
  const before = files();
  const env = { DRAY_DATA_DIR: world.dataDir, DRAY_PORT: '0' };
  for (const args of [['serve'], ['keys', 'list'], ['keys', 'create', 'x']])
    expect(await runDray(args, { env })).toMatchObject({
      code: 78,
      stderr: expect.stringContaining(`is in use by process ${world.service.pid}`) as string,
    });
  expect(files()).toEqual(before);
  expect(processesWith(join(runDir(), 'mr-')).length).toBe(1);
  copy.rule.release();
  await arrivesWhole(copy);
});

it('a start ends what a crash has left: Skopeo without a parent, and auth files', async () => {
  await world.service.stop('SIGKILL');
  const job = join(runDir(), `mr-${'0'.repeat(32)}`);
  mkdirSync(job, { recursive: true });
  writeFileSync(join(job, 'source-auth.json'), '{}');
  const orphan = spawn('sleep', ['1000'], { env: { PATH: process.env['PATH'], HOME: job } });
  const died = once(orphan, 'exit');
  await world.restart();
  expect(await died).toEqual([null, 'SIGKILL']);
  expect(filesLeft()).toEqual([]);
  expect(world.service.output()).toContain('Ended Skopeo processes of a service that crashed');
});

describe('a copy that fails', () => {
  const mirrored = async (name: string, to?: string) => {
    const { body } = await world.submit(name, to);
    return { ...(await world.finished(body.requestId)), answer: body };
  };
  const tagAt = async (path: string) =>
    (
      await fetch(`${world.target.url}/v2/${path}/manifests/1`, {
        headers: { accept: 'application/vnd.oci.image.index.v1+json' },
      })
    ).status;

  it('says that a blob is missing at the source, and sets no tag', async () => {
    const image = await push(world.source.url, 'hole', '1', platformsIndex(++seed));
    const layer = [...image.contents.values()].findLast(({ mediaType }) => mediaType.includes('layer'));
    const gone = await fetch(`${world.source.url}/v2/hole/blobs/${layer?.digest}`, { method: 'DELETE' });
    expect(gone.status).toBe(202);
    const end = await mirrored(`${world.source.host}/hole:1`);
    expect(end).toMatchObject({
      succeeded: false,
      reason: expect.stringContaining('At fault: the source registry') as string,
    });
    expect(end.reason).toContain(layer?.digest);
    expect(end.reason).toContain('push it there again');
    expect(end.detailsUri).toBe(`${world.service.url}/view/mirrors/${end.mirrorId}`);
    expect(await tagAt('hole')).toBe(404);
  });

  it('goes on after resets, 5xx answers and cut layers at the source', async () => {
    const path = 'bumpy';
    const image = await push(world.source.url, path, '1', manifestOf([noiseLayer(++seed, 50_000)]));
    const blobs = new RegExp(`^GET /v2/${path}/blobs/`);
    const rules = [
      gate.add(blobs, { kind: 'cut', after: 10_000 }, 1),
      gate.add(blobs, { kind: 'answer', status: 503 }, 1),
      gate.add(blobs, { kind: 'reset' }, 1),
    ];
    const end = await mirrored(`${gate.host}/${path}:1`);
    expect(end).toMatchObject({ succeeded: true });
    expect(rules.map((rule) => rule.hits())).toEqual([1, 1, 1]);
    expect(await fetchTree(world.target.url, path, '1')).toEqual(
      await fetchTree(world.source.url, path, image.digest),
    );
  });

  it('tells a tag that may not be changed at the target', async () => {
    const target = await startGate(world.target.host);
    try {
      await push(world.source.url, 'immutable', '1', manifestOf([noiseLayer(++seed, 5000)]));
      target.add(/^PUT \/v2\/immutable\/manifests\/1$/, {
        kind: 'answer',
        status: 400,
        headers: { 'content-type': 'application/json' },
        body: '{"errors":[{"code":"TAG_INVALID","message":"The image tag \'1\' already exists and cannot be overwritten because the repository is immutable."}]}',
      });
      const end = await mirrored(`${world.source.host}/immutable:1`, target.host);
      expect(end.reason).toContain('may not be changed');
      expect(end).toMatchObject({ succeeded: false });
      // Skopeo had ended well; the mirror has not.
      const { body } = await world.call('GET', `/v1alpha1/mirrors/${end.mirrorId}`);
      expect(body).toMatchObject({ status: 'COMPLETED', exitCode: 1 });
    } finally {
      await target.stop();
    }
  });

  it('is not called done by a target that loses what it took', async () => {
    const target = await startGate(world.target.host);
    try {
      const image = await push(world.source.url, 'forgets', '1', manifestOf([noiseLayer(++seed, 5000)]));
      // It forgets once; the second copy is kept.
      const lost = target.add(
        new RegExp(`^GET /v2/forgets/manifests/${image.digest}`),
        { kind: 'answer', status: 404 },
        2,
      );
      const { body } = await world.submit(`${world.source.host}/forgets:1`, target.host);
      expect(await world.finished(body.requestId)).toMatchObject({ succeeded: true });
      expect(lost.hits()).toBe(2);
      const authorization = `Bearer ${world.service.key}`;
      const { body: mirror } = await world.call('GET', `/v1/mirrors/${body.buildId}`, undefined, {
        authorization,
      });
      expect(mirror).toMatchObject({ state: 'done' });
      const puts = target.calls().filter((call) => call.startsWith('PUT') && call.endsWith('/manifests/1'));
      expect(puts.length).toBe(1);
    } finally {
      await target.stop();
    }
  });
});

describe('a registry that is away at submit', () => {
  it('for a moment costs its caller a moment', async () => {
    await push(world.source.url, 'blink', '1', manifestOf([noiseLayer(++seed, 5000)]));
    const rule = gate.add(/\/v2\/blink\/manifests/, { kind: 'answer', status: 503 }, 2);
    const { status, body } = await world.submit(`${gate.host}/blink:1`);
    expect(status).toBe(200);
    expect(rule.hits()).toBe(2);
    await world.finished(body.requestId);
  });

  it('for a moment may even refuse connections, once it is known', async () => {
    const { source } = world;
    await push(source.url, 'reborn', '1', manifestOf([noiseLayer(++seed, 5000)]));
    await world.finished((await world.submit(`${source.host}/reborn:1`)).body.requestId);
    await source.pause();
    const answer = world.submit(`${source.host}/reborn:1`, `${world.target.host}/again`);
    await source.start();
    expect(await answer).toMatchObject({ status: 200 });
    await world.finished((await answer).body.requestId);
  });

  it.each([
    ['5xx', { kind: 'answer', status: 502 } as const, 'registry_unavailable'],
    ['resets', { kind: 'reset' } as const, 'reset'],
    ['silence', { kind: 'hold' } as const, 'timeout'],
    [
      'a rate limit',
      { kind: 'answer', status: 429, headers: { 'retry-after': '1000' } } as const,
      'rate_limited',
    ],
  ])('for longer is a 503 with Retry-After: %s', async (_, fault, code) => {
    const rule = gate.add(/\/v2\/away\//, fault);
    const { status, headers, body } = await world.submit(`${gate.host}/away/${code.replace('_', '')}:1`);
    rule.release();
    expect({ status, code: body.code, side: body.side }).toEqual({ status: 503, code, side: 'source' });
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
    if (code === 'rate_limited') expect(headers.get('retry-after')).toBe('1000');
  });
});
