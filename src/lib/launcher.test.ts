import { afterAll, describe, expect, it } from 'vitest';
import { startLauncher } from './launcher.ts';
import { run, type RunOptions } from './spawn.ts';

const launcher = startLauncher();
afterAll(() => launcher.close());
const env = { PATH: process.env['PATH'] ?? '' };

// What a command can't tell is where it was started from.
describe.each([
  ['run', run],
  ['run of the launcher', launcher.run],
])('%s', (_, start) => {
  async function sh(script: string, options: Partial<RunOptions> = {}) {
    const lines: string[] = [];
    const exit = await start('sh', ['-c', script], {
      env,
      signal: new AbortController().signal,
      onLine: (line, stream) => lines.push(`${stream}: ${line}`),
      ...options,
    });
    return { exit, lines };
  }

  it('hands over every line, the process id, the input and how it ended', async () => {
    let pid = 0;
    const { exit, lines } = await sh('cat; seq 500; echo oops >&2; echo $$; exit 3', {
      input: 'given\n',
      onStart: (id) => (pid = id),
    });
    expect(exit).toEqual({ code: 3 });
    expect(lines).toHaveLength(503);
    expect(lines[0]).toBe('stdout: given');
    expect(lines).toContain('stderr: oops');
    expect(lines).toContain(`stdout: ${pid}`);
  });

  it('stops the child when its signal aborts, before or after the start', async () => {
    const stop = new AbortController();
    const { exit } = await sh('echo ready; exec sleep 600', {
      signal: stop.signal,
      onLine: () => stop.abort(),
    });
    expect(exit.signal).toBe('SIGTERM');
    expect((await sh('exec sleep 600', { signal: AbortSignal.abort() })).exit.signal).toBe('SIGTERM');
  });

  it('throws when there is no such command', async () => {
    const signal = new AbortController().signal;
    await expect(start('no-such-command', [], { env, signal })).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('a launcher', () => {
  const signal = new AbortController().signal;
  /** The process that starts the commands. */
  const parentOf = async ({ run: start }: typeof launcher) => {
    let parent = 0;
    await start('sh', ['-c', 'echo $PPID'], { env, signal, onLine: (line) => (parent = Number(line)) });
    return parent;
  };

  it('starts commands from a process that is not ours, and comes back when it was killed', async () => {
    const first = await parentOf(launcher);
    expect(first).not.toBe(process.pid);
    let orphan = 0;
    const onStart = (pid: number) => {
      orphan = pid;
      process.kill(first, 'SIGKILL');
    };
    await expect(launcher.run('sleep', ['600'], { env, signal, onStart })).rejects.toThrow('launcher');
    // Skopeo would have died with it, by setpriv.
    process.kill(orphan, 'SIGKILL');
    expect(await parentOf(launcher)).not.toBe(first);
  });

  it('takes what it runs with it when it is closed', async () => {
    const other = startLauncher();
    const { promise, resolve } = Promise.withResolvers<number>();
    const ended = other.run('sleep', ['600'], { env, signal, onStart: resolve }).catch(() => undefined);
    const pid = await promise;
    other.close();
    await ended;
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  });
});
