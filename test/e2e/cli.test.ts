import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { existsSync, readdirSync } from 'node:fs';
import { chmod, cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDray } from '../fixtures/command.ts';
import { keepDatabase } from '../fixtures/evidence.ts';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { manifestOf, noiseLayer, platformsIndex, push } from '../fixtures/image.ts';
import { processesWith } from '../fixtures/processes.ts';
import { freePort } from '../fixtures/registry.ts';
import { newSecret } from '../fixtures/secrets.ts';
import { dray } from '../fixtures/service.ts';
import { fetchTree } from '../fixtures/tree.ts';
import { createWorld, type World } from '../fixtures/world.ts';

let world: World;
let gate: Gate;
let folder: string;
/** The environment of a user with a service, and of one without. */
let served: Record<string, string>;
let alone: Record<string, string>;
beforeAll(async () => {
  world = await createWorld({ settings: 'freshness: 0\n' });
  gate = await startGate(world.source.host);
  folder = await mkdtemp(join(tmpdir(), 'dray-cli-'));
  await Promise.all(['tmp', 'home', 'here'].map((name) => mkdir(join(folder, name))));
  alone = { HOME: join(folder, 'home'), TMPDIR: join(folder, 'tmp'), DRAY_PORT: String(await freePort()) };
  // As on the same machine: the port and the data folder lead to the service and its key.
  served = { ...alone, DRAY_PORT: new URL(world.service.url).port, DRAY_DATA_DIR: world.dataDir };
});
afterAll(async () => {
  await gate.stop();
  await world.stop();
  await keepDatabase('pglite', join(folder, 'keys', 'db'));
  await rm(folder, { recursive: true, force: true });
});

let seed = 4000;
const image = (path: string, tag = '1') =>
  push(world.source.url, path, tag, manifestOf([noiseLayer(++seed, 10_000)]));
const cwd = () => join(folder, 'here');
const run = (args: string[], env: Record<string, string>, more = {}) =>
  runDray(args, { env, cwd: cwd(), ...more });
const filesLeft = () => [...readdirSync(cwd()), ...readdirSync(join(folder, 'tmp'))];

describe.each(['with a service', 'alone'])('dray mirror %s', (mode) => {
  const env = () => (mode === 'alone' ? alone : served);
  const to = (path: string) => `${world.target.host}/${mode === 'alone' ? 'alone' : 'served'}/${path}`;

  it('brings images over, says so in plain lines, and exits with 0', async () => {
    const [a, b] = [await image('cli/a'), await image('cli/b')];
    const from = world.source.host;
    const args = ['mirror', `${from}/cli/a:1`, `${from}/cli/b:1`, '--to', to('plain')];
    const { code, stdout, stderr } = await run(args, env());
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(
      new RegExp(`✓ ${from}/cli/a:1 → ${to('plain')}/cli/a:1 {2}done {2}1/1 layers, 10.\\d kB`),
    );
    // No escape sequences where there is no terminal.
    expect(stripVTControlCharacters(stdout)).toBe(stdout);
    const path = `${to('plain').slice(world.target.host.length + 1)}/cli`;
    for (const [name, pushed] of [['a', a] as const, ['b', b] as const])
      expect(await fetchTree(world.target.url, `${path}/${name}`, '1')).toEqual(
        await fetchTree(world.source.url, `cli/${name}`, pushed.digest),
      );
    const again = await run(args, env());
    expect(again.code).toBe(0);
    expect(again.stdout.match(/there already/g)).toHaveLength(2);
    expect(filesLeft()).toEqual([]);
  });

  it('reports each image on its own, and exits with 1 when one failed', async () => {
    await image('cli/good');
    const from = world.source.host;
    const args = ['mirror', `${from}/cli/none:1`, `${from}/cli/good:1`, 'Bad', '--to', to('mixed')];
    const { code, stdout, stderr } = await run(args, env());
    expect(code).toBe(1);
    expect(stdout).toContain(`${to('mixed')}/cli/good:1  done`);
    expect(stderr).toContain(
      `✗ ${from}/cli/none:1\n  failure: ${from}/cli/none:1 does not exist at its registry.`,
    );
    expect(stderr).toContain('side:    at the source registry (manifest_unknown)');
    expect(stderr).toContain('remedy:  Check that the image, its tag or its digest exists.');
    expect(stderr).toContain('"Bad" is no image reference');
  });

  it('looks only, with --dry-run, and exits with 75 while something is missing', async () => {
    await image('cli/dry');
    const args = ['mirror', `${world.source.host}/cli/dry:1`, '--to', to('dry')];
    const dry = await run([...args, '--dry-run', '--json'], env());
    expect(dry.code).toBe(75);
    expect(JSON.parse(dry.stdout)).toMatchObject({ state: 'missing', target: `${to('dry')}/cli/dry:1` });
    expect((await run(args, env())).code).toBe(0);
    const there = await run([...args, '--dry-run', '--json'], env());
    expect(there.code).toBe(0);
    expect(JSON.parse(there.stdout)).toMatchObject({ state: 'present' });
  });

  it('prints one JSON document an image with --json, and nothing else', async () => {
    await image('cli/json');
    const args = [
      'mirror',
      `${world.source.host}/cli/json:1`,
      `${world.source.host}/cli/nil:1`,
      '--to',
      to('json'),
    ];
    const { code, stdout, stderr } = await run([...args, '--json'], env());
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
    const documents = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { image: string; state: string });
    expect(documents.toSorted((a, b) => a.image.localeCompare(b.image))).toEqual([
      expect.objectContaining({
        image: `${world.source.host}/cli/json:1`,
        state: 'done',
        progress: expect.objectContaining({ layersDone: 1, layersTotal: 1 }) as unknown,
      }),
      expect.objectContaining({
        state: 'failed',
        failure: expect.objectContaining({ code: 'manifest_unknown', side: 'source' }) as unknown,
      }),
    ]);
  });

  it('has a live line on a terminal', async () => {
    const pushed = await push(world.source.url, 'cli/live', '1', platformsIndex(++seed));
    const layer = [...pushed.contents.values()].findLast(({ mediaType }) => mediaType.includes('layer'));
    const rule = gate.add(new RegExp(`^GET /v2/cli/live/blobs/${layer?.digest}`), { kind: 'hold' });
    const { code, stdout } = await run(['mirror', `${gate.host}/cli/live:1`, '--to', to('live')], env(), {
      terminal: true,
      onOutput: (text: string) => text.includes('8/9 layers') && rule.release(),
    });
    expect(code).toBe(0);
    // It was drawn over itself, layer by layer.
    expect(stdout).toContain('\u001b[');
    const text = stripVTControlCharacters(stdout);
    expect(text).toMatch(/● .*copying {2}8\/9 layers, 1\d\d\.\d kB of 184\.7 kB {2}\d\.\d s/);
    expect(text).toMatch(/✓ .*done {2}9\/9 layers, 18\d\.\d kB {2}\d\.\d s/);
    for (const line of text.split(/\r?\n/)) expect(line.length).toBeLessThanOrEqual(100);
  });

  it('says where it stands when Ctrl-C stops it, and leaves nothing behind', async () => {
    await image('cli/stop');
    const rule = gate.add(/^GET \/v2\/cli\/stop\/blobs\//, { kind: 'hold' });
    const args = ['mirror', `${gate.host}/cli/stop:1`, '--to', to('stop')];
    const { code, stderr } = await run(args, env(), {
      onStart: (signal: (name: NodeJS.Signals) => void) => void rule.met.then(() => signal('SIGINT')),
    });
    expect(code).toBe(130);
    expect(stderr).toContain(mode === 'alone' ? 'Stopped.' : 'the service goes on');
    if (mode === 'alone') expect(processesWith(join(folder, 'tmp'))).toEqual([]);
    expect(filesLeft()).toEqual([]);
    rule.release();
  });

  it('has the log for whoever asks', async () => {
    await image('cli/verbose');
    const args = ['mirror', `${world.source.host}/cli/verbose:1`, '--to', to('verbose'), '-v'];
    expect((await run(args, env())).stderr).toContain('Copying blob');
  });
});

describe('dray mirror', () => {
  it('does not take two images of one run for each other', async () => {
    const other = await createWorld();
    try {
      await image('cli/same');
      await push(other.source.url, 'cli/same', '1', manifestOf([noiseLayer(++seed, 5000)]));
      const args = [`${world.source.host}/cli/same:1`, `${other.source.host}/cli/same:1`];
      const { code, stderr } = await run(['mirror', ...args, '--to', `${world.target.host}/one`], alone);
      expect(code).toBe(1);
      expect(stderr).toContain('origin_conflict');
    } finally {
      await other.stop();
    }
  });

  it('removes what a command that was killed had to leave', async () => {
    await image('cli/killed');
    const rule = gate.add(/^GET \/v2\/cli\/killed\/blobs\//, { kind: 'hold' });
    const args = ['mirror', `${gate.host}/cli/killed:1`, '--to', `${world.target.host}/killed`];
    await run(args, alone, {
      onStart: (signal: (name: NodeJS.Signals) => void) => void rule.met.then(() => signal('SIGKILL')),
    });
    expect(readdirSync(join(folder, 'tmp'))).toEqual([expect.stringMatching(/^dray-run-/)]);
    rule.release();
    expect((await run(args, alone)).code).toBe(0);
    expect(filesLeft()).toEqual([]);
  });

  it('does not wait with --no-wait, and tells how to look again', async () => {
    await image('cli/later');
    const args = ['mirror', `${world.source.host}/cli/later:1`, '--to', `${world.target.host}/later`];
    const { code, stdout } = await run([...args, '--no-wait', '--json'], served);
    expect(code).toBe(75);
    const { id } = JSON.parse(stdout) as { id: string };
    expect((await run(args, served)).code).toBe(0);
    const status = await run(['status', id], served);
    expect(status).toMatchObject({ code: 0, stdout: expect.stringContaining('state:   done') as string });
  });

  it('uses the named service or none: a dead one is an error, not a reason to copy here', async () => {
    const env = { ...alone, DRAY_URL: `http://127.0.0.1:${alone['DRAY_PORT']}` };
    const { code, stderr } = await run(['mirror', 'a', '--to', 'localhost:1'], env);
    expect(code).toBe(1);
    expect(stderr).toContain('No service answers at http://127.0.0.1');
    expect(stderr).toContain('dray serve');
  });

  it('goes on when the service restarts in the middle of a copy', async () => {
    await image('cli/restart');
    const rule = gate.add(/^GET \/v2\/cli\/restart\/blobs\//, { kind: 'hold' });
    const port = new URL(world.service.url).port;
    const running = run(
      ['mirror', `${gate.host}/cli/restart:1`, '--to', `${world.target.host}/restart`],
      served,
    );
    await rule.met;
    await world.service.stop();
    rule.release();
    await world.restart({ DRAY_PORT: port });
    expect(await running).toMatchObject({ code: 0, stdout: expect.stringContaining('done') as string });
  });

  it('gives the key of this machine to no other service', async () => {
    const seen: (string | undefined)[] = [];
    const other = createServer((request, response) => {
      seen.push(request.headers.authorization);
      response.end('{"serviceInfo": {}}');
    }).listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    await run(['list', '--url', `http://127.0.0.1:${port}`], served);
    other.close();
    expect(seen).toEqual([undefined, undefined]);
  });

  it('says what to do about a missing or wrong key', async () => {
    const args = ['mirror', 'a', '--to', 'localhost:1', '--url', world.service.url];
    expect((await run(args, alone)).stderr).toMatch(/The service wants a key[\s\S]*DRAY_API_KEY/);
    expect((await run(args, { ...alone, DRAY_API_KEY: newSecret('wrong key') })).stderr).toContain(
      'is no key of this service',
    );
  });
});

describe('dray list and dray logs', () => {
  it('show what there is', async () => {
    await image('cli/listed');
    await run(['mirror', `${world.source.host}/cli/listed:1`, '--to', world.target.host], served);
    const list = await run(['list'], served);
    expect(list.stdout).toMatch(/^ID +STATE +SIZE +AGE +TARGET\n/);
    expect(list.stdout).toContain(`${world.target.host}/cli/listed:1`);
    const { stdout } = await run(['list', '--json', '-n', '1', '--state', 'done'], served);
    const { id } = JSON.parse(stdout) as { id: string };
    expect((await run(['logs', id], served)).stdout).toContain('Done: the target holds the same digest.');
    expect((await run(['logs', 'mr-0'], served)).stderr).toContain('There is no mirror with this id');
  });
});

describe('dray keys', () => {
  it('makes a key that works until it is revoked', async () => {
    const { stdout: key, stderr } = await run(['keys', 'create', 'pipeline 7'], served);
    expect(key).toMatch(/^dray_[0-9a-f]{40}\n$/);
    const id = /key-[0-9a-f]+/.exec(stderr)?.[0] ?? '';
    const env = { ...alone, DRAY_URL: world.service.url, DRAY_API_KEY: key.trim() };
    expect((await run(['list'], env)).code).toBe(0);
    expect((await run(['keys', 'list'], env)).stderr).toContain('Only an administrator');
    const listed = async () => (await run(['keys', 'list'], served)).stdout;
    expect(await listed()).toMatch(new RegExp(`${id} +pipeline 7 +user .* ago +good`));
    expect(await listed()).not.toContain(key.trim());
    expect((await run(['keys', 'revoke', id], served)).code).toBe(0);
    expect((await run(['list'], env)).stderr).toContain('is no key of this service');
    expect(await listed()).toMatch(new RegExp(`${id} .* revoked`));
    const unknown = await run(['keys', 'revoke', 'pipeline 7'], served);
    expect(unknown).toMatchObject({ code: 1, stderr: expect.stringContaining('`dray keys list`') as string });
  });

  it('works on the data folder while no service runs', async () => {
    const env = { ...alone, DRAY_DATA_DIR: join(folder, 'keys') };
    const { stdout } = await run(['keys', 'create', 'first', '--admin', '--json'], env);
    const made = JSON.parse(stdout) as { id: string; admin: boolean };
    expect(made.admin).toBe(true);
    expect((await run(['keys', 'list'], env)).stdout).toContain(made.id);
    expect((await run(['keys', 'revoke', 'first'], env)).stderr).toMatch(
      /no key with the id first[\s\S]*by their id, not by their name: see `dray keys list`/,
    );
  });
});

describe('dray doctor', () => {
  it('finds what is right and what is wrong', async () => {
    const good = await run(['doctor', world.source.host], served);
    expect(good.code, good.stdout).toBe(0);
    for (const text of [
      'skopeo, version',
      'accepts the key',
      'free for',
      'answers without a login',
      'agrees with',
    ])
      expect(good.stdout).toContain(text);
    const config = join(folder, 'bad.yaml');
    await writeFile(config, 'skopeo: {path: no-skopeo}\n');
    const bad = await run(['doctor', 'localhost:1', '--json'], { ...alone, DRAY_CONFIG: config });
    expect(bad.code).toBe(1);
    const findings = bad.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { check: string; state: string });
    const states = Object.fromEntries(findings.map(({ check, state }) => [check, state]));
    expect(states).toMatchObject({ skopeo: 'bad', service: 'warn', disk: 'good', 'localhost:1': 'bad' });
  });
});

describe('wrong use', () => {
  it.each([
    [['mirror', 'a'], 64, '--to'],
    [['nonsense'], 64, 'unknown command'],
    [['mirorr', 'a'], 64, 'Did you mean mirror?'],
    [['keys', 'lst'], 64, 'Did you mean list?'],
    [['mirror', 'a', '--to', 'b', '--dryrun'], 64, 'Did you mean --dry-run?'],
    [['keys', 'create', 'a', '--admni'], 64, 'Did you mean --admin?'],
    [['mirror', '--to', 'b'], 64, 'name an image'],
    [['mirror', 'a', '--to', 'b', '--platform', 'amd64'], 64, 'is no platform'],
    [['mirror', 'a', '--to', 'b', '--referrers', 'some'], 64, 'all, none, or artifact types'],
    [['mirror', '--from', 'nowhere.txt', '--to', 'b'], 1, "nowhere.txt can't be read (ENOENT)"],
    [['list', '-n', '0'], 64, 'from 1 on'],
    [['list', '--since', 'yesterday'], 64, 'Write it like 90m'],
    [['list', '--state', 'x'], 64, 'Allowed choices'],
    [['status', 'mr-1'], 1, 'No service runs'],
  ])('%j exits with its status and says why', async (args, code, text) => {
    const result = await run(args, alone);
    expect(result.code).toBe(code);
    expect(result.stderr).toContain(text);
  });

  it('explains itself', async () => {
    const { code, stdout } = await run(['--help'], alone);
    expect(code).toBe(0);
    expect(stdout).toContain('copy images to registries');
  });
});

describe('bin/dray', () => {
  it('runs on its own Node, also where the system has an old one, and through a link', async () => {
    const bin = join(folder, 'bin');
    await mkdir(bin);
    await writeFile(join(bin, 'node'), '#!/bin/sh\necho v18.0.0\n');
    await chmod(join(bin, 'node'), 0o755);
    const PATH = `${bin}:${process.env['PATH'] ?? ''}`;
    expect((await run(['--version'], { ...alone, PATH })).stdout).toBe('0.1.0\n');
    // A published package has no Node of its own.
    const published = join(folder, 'package');
    await mkdir(join(published, 'bin'), { recursive: true });
    await cp(dray, join(published, 'bin/dray'));
    expect(() => execFileSync(join(published, 'bin/dray'), { env: { PATH }, stdio: 'pipe' })).toThrow(
      /Node.js 22.18 or newer is needed[\s\S]*v18.0.0/,
    );
    expect(existsSync(join(published, 'dist'))).toBe(false);
  });
});
