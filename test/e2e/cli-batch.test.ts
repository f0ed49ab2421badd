import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDray } from '../fixtures/command.ts';
import { manifestOf, noiseLayer, oci, platformsIndex, push } from '../fixtures/image.ts';
import { freePort } from '../fixtures/registry.ts';
import { createWorld, type World } from '../fixtures/world.ts';

let world: World;
let folder: string;
let served: Record<string, string>;
let alone: Record<string, string>;
beforeAll(async () => {
  world = await createWorld({ settings: 'freshness: 0\n' });
  folder = await mkdtemp(join(tmpdir(), 'dray-batch-'));
  await mkdir(join(folder, 'tmp'));
  alone = { HOME: folder, TMPDIR: join(folder, 'tmp'), DRAY_PORT: String(await freePort()) };
  served = { ...alone, DRAY_PORT: new URL(world.service.url).port, DRAY_DATA_DIR: world.dataDir };
});
afterAll(async () => {
  await world.stop();
  await rm(folder, { recursive: true, force: true });
});

interface Row {
  image: string;
  to: string;
  target?: string;
  state: string;
  id?: string;
  failure?: { code: string };
}

let seed = 6000;
const stock = (path: string) => push(world.source.url, path, '1', manifestOf([noiseLayer(++seed, 4000)]));
const image = (path: string) => `${world.source.host}/${path}:1`;
const run = (args: string[], env: Record<string, string>, more = {}) =>
  runDray(args, { env, cwd: folder, ...more });
const rowsOf = (stdout: string) =>
  stdout
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Row);

describe.each(['with a service', 'alone'])('dray mirror %s', (mode) => {
  const env = () => (mode === 'alone' ? alone : served);
  const to = (path: string) => `${world.target.host}/${mode === 'alone' ? 'alone' : 'served'}/${path}`;

  it('takes each image to each target, a row for each of these pairs', async () => {
    await Promise.all(['two/a', 'two/b'].map(stock));
    const args = ['mirror', image('two/a'), image('two/b'), image('two/none')];
    const targets = ['--to', to('x'), '--to', to('y')];
    const { code, stdout, stderr } = await run([...args, ...targets], env());
    expect(code).toBe(1);
    for (const name of ['two/a', 'two/b'])
      for (const place of ['x', 'y'])
        expect(stdout).toContain(`✓ ${image(name)} → ${to(place)}/${name}:1  done`);
    for (const place of ['x', 'y']) expect(stderr).toContain(`✗ ${image('two/none')} → ${to(place)}\n`);
    const json = await run([...args, ...targets, '--json'], env());
    const rows = rowsOf(json.stdout).map(({ image: from, to: place, state, failure }) =>
      [from, place, failure?.code ?? state].join(' '),
    );
    expect(rows.sort()).toEqual(
      ['x', 'y']
        .flatMap((place) => [
          `${image('two/a')} ${to(place)} present`,
          `${image('two/b')} ${to(place)} present`,
          `${image('two/none')} ${to(place)} manifest_unknown`,
        ])
        .sort(),
    );
  });

  it('reads images from a file and from standard input', async () => {
    await Promise.all(['from/a', 'from/b', 'from/c'].map(stock));
    const text = `# what we need\n${image('from/a')}\r\n\n  ${image('from/b')}  # and this\n${image('from/a')}\n`;
    await writeFile(join(folder, 'images.txt'), text);
    const listed = ['mirror', '--to', to('file'), '--json', '--from'];
    const file = await run([...listed, 'images.txt', image('from/c')], env());
    expect(file.code).toBe(0);
    const names = (stdout: string) =>
      rowsOf(stdout)
        .map((row) => row.image)
        .sort();
    expect(names(file.stdout)).toEqual(['from/a', 'from/b', 'from/c'].map(image));
    const input = await run([...listed, '-'], env(), { input: text });
    expect(input.code).toBe(0);
    expect(names(input.stdout)).toEqual(['from/a', 'from/b'].map(image));
    const none = await run([...listed, '-'], env(), { input: '# nothing\n' });
    expect(none).toMatchObject({ code: 64, stderr: expect.stringContaining('name an image') as string });
  });

  it('ends with a sum where there are more than anybody counts', async () => {
    await stock('sum/a');
    const missing = Array.from({ length: 10 }, (_, n) => image(`sum/none-${n}`));
    const { code, stdout } = await run(['mirror', image('sum/a'), ...missing, '--to', to('sum')], env());
    expect(code).toBe(1);
    expect(stdout.trimEnd().split('\n').at(-1)).toBe('1 done, 10 failed');
  });

  it('takes the platforms that are chosen', async () => {
    const index = await push(world.source.url, 'chosen/a', '1', platformsIndex(++seed));
    const args = ['mirror', image('chosen/a'), '--to', to('chosen'), '--referrers', 'none', '--json'];
    const { code, stdout } = await run([...args, '--platform', 'linux/amd64', '--dry-run'], env());
    expect(code).toBe(75);
    expect(rowsOf(stdout)[0]).toMatchObject({ state: 'missing' });
    const path = `${to('chosen').slice(world.target.host.length + 1)}/chosen/a`;
    const there = async (digest: string) =>
      (
        await fetch(`${world.target.url}/v2/${path}/manifests/${digest}`, {
          method: 'HEAD',
          headers: { accept: oci.manifest },
        })
      ).status;
    const brought = await run([...args, '--platform', 'linux/amd64,linux/arm64'], env());
    // Debian's registry takes no index with children missing, and says so once it has the others.
    expect(brought.code).toBe(1);
    expect(rowsOf(brought.stdout)[0]?.failure?.code).toBe('sparse_index_refused');
    expect(await there(index.children[0]?.digest ?? '')).toBe(200);
    expect(await there(index.children[2]?.digest ?? '')).toBe(404);
  });
});

describe('dray mirror with a service', () => {
  it('asks for more images than go in one request, and fails on none of them', async () => {
    const { digest } = await stock('many/a');
    const images = Array.from({ length: 130 }, (_, n) => `${world.source.host}/many/a:t${n}@${digest}`);
    const input = images.join('\n');
    const args = ['mirror', '--from', '-', '--to', `${world.target.host}/many`, '--json', '--no-wait'];
    const { stdout } = await run(args, served, { input });
    const rows = rowsOf(stdout);
    expect(rows).toHaveLength(130);
    expect(rows.map((row) => row.image).sort()).toEqual([...images].sort());
    expect(new Set(rows.map(({ state }) => state))).toEqual(new Set(['queued']));
  });
});

describe('dray list', () => {
  it('finds what is asked for', async () => {
    await Promise.all(['listed/a', 'listed/b'].map(stock));
    const args = ['mirror', image('listed/a'), image('listed/b'), '--to', world.target.host, '--json'];
    const made = rowsOf((await run(args, served)).stdout);
    const idOf = (path: string) => made.find((row) => row.image === image(path))?.id;
    const list = async (...filter: string[]) =>
      rowsOf((await run(['list', '--json', ...filter], served)).stdout).map(({ id }) => id);
    const source = ['--source', `${world.source.host}/listed`];
    expect((await list(...source)).sort()).toEqual([idOf('listed/a'), idOf('listed/b')].sort());
    expect(await list('--target', `${world.target.host}/listed/b:1`)).toEqual([idOf('listed/b')]);
    const { stdout } = await run(['status', idOf('listed/b') ?? ''], served);
    expect(stdout).toMatch(/there: {3}1 manifests, 2 blobs, \S+ kB, 0 referrers \(seen: blobs\)/);
    expect(await list(...source, '--state', 'queued,copying', '--state', 'failed')).toEqual([]);
    expect(await list(...source, '--since', '1h', '-n', '1')).toHaveLength(1);
    expect(await list(...source, '--until', '1h')).toEqual([]);
    expect(await list(...source, '--until', '2020-01-31')).toEqual([]);
    const empty = await run(['list', ...source, '--state', 'failed'], served);
    expect(empty).toMatchObject({ code: 0, stdout: 'No such mirrors.\n' });
    const wrong = await run(['list', '--source', 'ubuntu'], served);
    expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining('registry host') as string });
  });
});
