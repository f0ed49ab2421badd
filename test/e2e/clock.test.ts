import { globSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { manifestOf, noiseLayer, push, type Pushed } from '../fixtures/image.ts';
import { fetchTree } from '../fixtures/tree.ts';
import { createWorld, type World } from '../fixtures/world.ts';

// A clock of the service's own, which a file sets; what measures time that passes is not touched, as on a real machine.
const library = globSync('/usr/lib/{,*/}faketime/libfaketime.so.1')[0];
if (library === undefined)
  process.stderr.write("Skipped: a clock that jumps needs Debian's package `faketime`.\n");

const hours = 3600;

describe.skipIf(library === undefined).each([
  ['back', -2 * hours],
  ['forward', 2 * hours],
])('a clock that is set %s by two hours', (_, jump) => {
  let folder: string;
  let world: World;
  let gate: Gate;
  let offset = 0;
  const set = (seconds: number) =>
    writeFile(join(folder, 'clock'), `${seconds < 0 ? '' : '+'}${(offset = seconds)}\n`);
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dray-clock-'));
    await set(0);
    world = await createWorld({
      settings: 'freshness: 0\ncopies: 2\nretry: { firstPause: 4 }\n',
      env: {
        LD_PRELOAD: library ?? '',
        FAKETIME_TIMESTAMP_FILE: join(folder, 'clock'),
        FAKETIME_NO_CACHE: '1',
        DONT_FAKE_MONOTONIC: '1',
      },
    });
    gate = await startGate(world.source.host);
  });
  afterAll(async () => {
    await gate.stop();
    await world.stop();
    await rm(folder, { recursive: true });
  });

  let seed = 9700;
  const jumps = async () => {
    await set(offset + jump);
    // It tells the time with every answer, and looks at its clock once a second for that.
    const off = async () => {
      const { headers } = await world.call('GET', '/health');
      return Math.abs(Date.parse(headers.get('date') ?? '') - Date.now() - offset * 1000);
    };
    await expect.poll(off, { timeout: 5000 }).toBeLessThan(60_000);
  };
  const image = (path: string, tag = '1') =>
    push(world.source.url, path, tag, manifestOf([noiseLayer(++seed, 20_000)]));
  const submit = async (path: string) => (await world.submit(`${gate.host}/${path}:1`)).body;
  const look = async (id: string | undefined) =>
    (
      await world.call<{ state: string; attempts: number; wait?: unknown; createdAt: string }>(
        'GET',
        `/v1/mirrors/${id}`,
        undefined,
        { authorization: `Bearer ${world.service.key}` },
      )
    ).body;
  const hold = (path: string) => gate.add(new RegExp(`^GET /v2/${path}/blobs/`), { kind: 'hold' });
  const isWhole = async (path: string, { digest }: Pushed) =>
    expect(await fetchTree(world.target.url, path, '1')).toEqual(
      await fetchTree(world.source.url, path, digest),
    );

  it('does not lose what is copied, nor keep what waits behind it', async () => {
    const images = await Promise.all(['run', 'next', 'last'].map((path) => image(path)));
    const rule = hold('run');
    const asked = [await submit('run')];
    await rule.met;
    const other = hold('next');
    asked.push(await submit('next'));
    await other.met;
    asked.push(await submit('last'));
    await jumps();
    rule.release();
    other.release();
    for (const { requestId } of asked)
      expect(await world.finished(requestId)).toMatchObject({ succeeded: true });
    await Promise.all(['run', 'next', 'last'].map((path, n) => isWhole(path, images[n] as Pushed)));
  });

  it('neither ends nor lengthens a pause before the next try', async () => {
    const pushed = await image('pause');
    const rule = gate.add(/^GET \/v2\/pause\/blobs\//, { kind: 'answer', status: 500 });
    const { requestId, buildId } = await submit('pause');
    await expect.poll(async () => (await look(buildId)).wait, { timeout: 20_000 }).toBeDefined();
    await jumps();
    rule.release();
    expect(await world.finished(requestId)).toMatchObject({ succeeded: true });
    await isWhole('pause', pushed);
  });

  it('does not turn a tag back to what it was', async () => {
    const { contents } = await image('moving');
    const layer = [...contents.values()].find(({ mediaType }) => mediaType.includes('layer'));
    const rule = gate.add(new RegExp(`^GET /v2/moving/blobs/${layer?.digest}`), { kind: 'hold' });
    const first = await submit('moving');
    await rule.met;
    const second = await image('moving');
    await jumps();
    const later = await submit('moving');
    expect(later.buildId).not.toBe(first.buildId);
    expect(await world.finished(later.requestId)).toMatchObject({ succeeded: true });
    rule.release();
    expect(await world.finished(first.requestId)).toMatchObject({ succeeded: true });
    await isWhole('moving', second);
  });

  it('lets nobody wait who was refused, or who comes after a stop', async () => {
    const pushed = await image('again');
    const rule = hold('again');
    const { requestId } = await submit('again');
    await rule.met;
    await world.service.stop();
    rule.release();
    await set(offset + jump);
    await world.restart();
    expect(await world.finished(requestId)).toMatchObject({ succeeded: true });
    await isWhole('again', pushed);
  });
});
