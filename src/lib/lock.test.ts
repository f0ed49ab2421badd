import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LockedError, takeLock } from './lock.ts';

const source = fileURLToPath(new URL('./lock.ts', import.meta.url));
let folder: string;
let path: string;
const children: ChildProcess[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dray-lock-'));
  path = join(folder, 'lock');
});
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await rm(folder, { recursive: true });
});

/** Another process that holds the lock, and has run `more` by the time this resolves. */
async function startHolder(more = ''): Promise<ChildProcess & { output: string }> {
  const script = `
    import { takeLock } from ${JSON.stringify(source)};
    import { spawn } from 'node:child_process';
    globalThis.lock = await takeLock(${JSON.stringify(path)});
    let said = '';
    ${more}
    console.log('locked', said);
    setInterval(() => undefined, 1000);
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  const [output] = (await once(child.stdout, 'data')) as [Buffer];
  return Object.assign(child, { output: output.toString() });
}

async function kill(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

describe('takeLock', () => {
  it('refuses while another process holds it, and names that process', async () => {
    const holder = await startHolder();
    await expect(takeLock(path)).rejects.toBeInstanceOf(LockedError);
    await expect(takeLock(path)).rejects.toMatchObject({ holder: holder.pid });
  });

  it('is free again when its holder was killed', async () => {
    const holder = await startHolder();
    await kill(holder);
    const lock = await takeLock(path);
    expect(await readFile(path, 'utf8')).toBe(`${process.pid}\n`);
    await lock.release();
  });

  it('is not kept by what the killed holder had started', async () => {
    const holder = await startHolder(`
      const child = spawn('sleep', ['1000'], { stdio: 'ignore', detached: true });
      said = child.pid;
    `);
    const orphan = Number(holder.output.split(' ')[1]);
    await kill(holder);
    process.kill(orphan, 0);
    await (await takeLock(path)).release();
    process.kill(orphan, 'SIGKILL');
  });

  it('refuses a second time in the same process, until it is released', async () => {
    const lock = await takeLock(path);
    await expect(takeLock(path)).rejects.toBeInstanceOf(LockedError);
    await lock.release();
    await (await takeLock(path)).release();
  });

  it('is given to one of many who ask at once', async () => {
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => takeLock(path)));
    const won = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    expect(won).toHaveLength(1);
    await won[0]?.release();
  });

  it('does not believe a process id that was left in the file', async () => {
    await writeFile(path, '1\n');
    await (await takeLock(path)).release();
  });

  describe('where there is no flock command', () => {
    beforeEach(() => vi.stubEnv('PATH', folder));

    it('refuses while the process that wrote its id lives, and not later', async () => {
      const live = spawn('/bin/sleep', ['1000']);
      children.push(live);
      await writeFile(path, `${live.pid}\n`);
      await expect(takeLock(path)).rejects.toMatchObject({ holder: live.pid });
      await kill(live);
      await (await takeLock(path)).release();
    });
  });
});
