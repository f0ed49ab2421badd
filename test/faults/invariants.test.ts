import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eightPlatforms, manifestOf, noiseLayer, platformsIndex, push } from '../fixtures/image.ts';
import { startRegistry, type TestRegistry } from '../fixtures/registry.ts';
import { checkArrival, checkFailure, checkLeftovers, checkTags, treeOf } from './invariants.ts';
import { startFaultProxy } from './proxy.ts';

// The harness must be able to fail: each check is shown what it is there to find.

let target: TestRegistry;
beforeAll(async () => {
  target = await startRegistry();
});
afterAll(() => target.stop());

let seed = 7000;
const platforms = eightPlatforms.slice(0, 2);
const index = (path: string) =>
  push(target.url, path, '1', platformsIndex(++seed, { platforms, size: 3000 }));
const remove = (path: string, what: string) =>
  fetch(`${target.url}/v2/${path}/${what}`, { method: 'DELETE' }).then(({ status }) => status);
const tagged = (path: string) => checkTags(target.url, (repository) => repository === path);

describe('the check of what has arrived', () => {
  it('accepts a whole tree, by tag and by digest', async () => {
    const pushed = await index('whole');
    expect(await checkArrival(target.url, 'whole', '1', treeOf(pushed))).toEqual([]);
    expect(await checkArrival(target.url, 'whole', pushed.digest, treeOf(pushed))).toEqual([]);
    expect(await tagged('whole')).toEqual([]);
  });

  it('finds a missing blob, and the tag above it', async () => {
    const pushed = await index('blobless');
    const blob = [...pushed.contents.values()].find(({ mediaType }) => mediaType.includes('layer'));
    expect(await remove('blobless', `blobs/${blob?.digest}`)).toBe(202);
    expect((await checkArrival(target.url, 'blobless', '1', treeOf(pushed)))[0]).toContain(blob?.digest);
    expect((await tagged('blobless'))[0]).toContain('resolves to something incomplete');
  });

  it('finds a missing child, and the tag above it', async () => {
    const pushed = await index('childless');
    const child = pushed.children[1]?.digest ?? '';
    expect(await remove('childless', `manifests/${child}`)).toBe(202);
    expect((await checkArrival(target.url, 'childless', '1', treeOf(pushed)))[0]).toContain(child);
    expect((await tagged('childless'))[0]).toContain(child);
  });

  it('finds a missing tag', async () => {
    const pushed = await push(target.url, 'tagless', undefined, manifestOf([noiseLayer(++seed, 3000)]));
    expect((await checkArrival(target.url, 'tagless', '1', treeOf(pushed)))[0]).toContain('404');
  });

  it('finds a tag that is on another image', async () => {
    await index('other');
    const expected = manifestOf([noiseLayer(++seed, 3000)]);
    const pushed = await push(target.url, 'other', undefined, expected);
    expect((await checkArrival(target.url, 'other', '1', treeOf(pushed)))[0]).toContain('another tree');
  });

  it('finds one wrong bit in a layer', async () => {
    const pushed = await index('bent');
    const proxy = await startFaultProxy({ side: 'target', upstream: target });
    try {
      const fault = { kind: 'flip', where: 'answer', at: 1234, bit: 3 } as const;
      proxy.add({ kinds: ['blob-get'], skip: 1, times: 1, fault });
      const complaints = await checkArrival(`http://${proxy.host}`, 'bent', '1', treeOf(pushed));
      expect(complaints[0]).toContain('hashes to');
    } finally {
      await proxy.stop();
    }
  });
});

describe('the check of a failure', () => {
  const allowed = [{ code: 'reset', side: 'source' }] as const;

  it('accepts an allowed code on its side', () => {
    expect(checkFailure('x', { code: 'reset', side: 'source' }, allowed)).toEqual([]);
  });

  it.each([
    ['another code', { code: 'internal', side: 'source' }],
    ['the other side', { code: 'reset', side: 'target' }],
    ['no side', { code: 'reset' }],
    ['no failure at all', undefined],
  ])('finds %s', (_, failure) => {
    expect(checkFailure('x', failure, allowed)).toHaveLength(1);
  });

  it('finds any failure where no fault stays', () => {
    expect(checkFailure('x', { code: 'reset', side: 'source' }, [])[0]).toContain('allowed: none');
  });
});

describe('the check of leftovers', () => {
  it('finds auth files and processes of copies, and nothing in a clean folder', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'dray-faults-left-'));
    const job = join(dataDir, 'run', 'mr-1');
    try {
      expect(checkLeftovers(dataDir)).toEqual([]);
      await mkdir(job, { recursive: true });
      await writeFile(join(job, 'target-auth.json'), '{}');
      expect(checkLeftovers(dataDir)).toContain('A copy has left run/mr-1/target-auth.json.');
      await rm(job, { recursive: true });
      const child = spawn('sleep', ['60'], { env: { PATH: process.env['PATH'], HOME: job } });
      await once(child, 'spawn');
      const ended = once(child, 'exit');
      expect(checkLeftovers(dataDir)).toEqual([`Process ${child.pid} of a copy still runs.`]);
      child.kill('SIGKILL');
      await ended;
      expect(checkLeftovers(dataDir)).toEqual([]);
    } finally {
      await rm(dataDir, { recursive: true, force: true });
    }
  });
});
