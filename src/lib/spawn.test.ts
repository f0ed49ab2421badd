import { describe, expect, it } from 'vitest';
import { run, type RunOptions } from './spawn.ts';

const env = { PATH: process.env['PATH'] ?? '' };

/** Runs a shell script and gathers what it says. */
async function sh(script: string, options: Partial<RunOptions> = {}) {
  const lines: string[] = [];
  const exit = await run('sh', ['-c', script], {
    env,
    signal: new AbortController().signal,
    onLine: (line, stream) => lines.push(`${stream}: ${line}`),
    ...options,
  });
  return { exit, lines };
}

describe('run', () => {
  it.each([0, 3])('returns status %i, which is no error', async (status) => {
    expect((await sh(`exit ${status}`)).exit).toEqual({ code: status, signal: undefined });
  });

  it('returns the signal that ended the child', async () => {
    expect((await sh('kill -KILL $$')).exit).toEqual({ code: undefined, signal: 'SIGKILL' });
  });

  it('hands over every line of both streams before it returns, the last without a newline too', async () => {
    const { lines } = await sh('seq 2000; echo oops >&2; printf end');
    expect(lines.filter((line) => line.startsWith('stdout'))).toHaveLength(2001);
    expect(lines).toContain('stderr: oops');
    expect(lines).toContain('stdout: end');
  });

  it('cuts an endless line', async () => {
    const { lines } = await sh('head -c 100000 /dev/zero | tr "\\0" x');
    expect(lines.map((line) => line.length)).toEqual(['stdout: '.length + 16 * 1024]);
  });

  it('gives the child its input and nothing of our environment', async () => {
    const { lines } = await sh('cat; echo "home=$HOME"', { input: 'given\n' });
    expect(lines).toEqual(['stdout: given', 'stdout: home=']);
  });

  it('outlives a child that does not read its input', async () => {
    expect((await sh('exec 0<&-; exit 4', { input: 'x'.repeat(1_000_000) })).exit.code).toBe(4);
  });

  it('takes arguments as they are, without a shell', async () => {
    const lines: string[] = [];
    const signal = new AbortController().signal;
    await run('echo', ['$HOME', '; ls', '*'], { env, signal, onLine: (line) => lines.push(line) });
    expect(lines).toEqual(['$HOME ; ls *']);
  });

  it('does not wait for a grandchild that outlives a stopped child', async () => {
    const stop = new AbortController();
    let grandchild = 0;
    const { exit } = await sh('sleep 600 & echo $!; wait', {
      signal: stop.signal,
      onLine: (line) => {
        grandchild = Number(line);
        stop.abort();
      },
    });
    process.kill(grandchild, 'SIGKILL');
    expect(exit.signal).toBe('SIGTERM');
  });

  it('throws when there is no such command', async () => {
    const signal = new AbortController().signal;
    await expect(run('no-such-command', [], { env, signal })).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('stops the child with SIGTERM when its signal aborts, before or after the start', async () => {
    const stopped = { code: undefined, signal: 'SIGTERM' };
    expect((await sh('exec sleep 1000', { signal: AbortSignal.abort() })).exit).toEqual(stopped);
    const stop = new AbortController();
    const running = sh('echo up; exec sleep 1000', { signal: stop.signal, onLine: () => stop.abort() });
    expect((await running).exit).toEqual(stopped);
  });

  it('lets the child end in its own way', async () => {
    const stop = new AbortController();
    const script = 'trap "exit 7" TERM; echo up; while :; do sleep 0.01; done';
    expect((await sh(script, { signal: stop.signal, onLine: () => stop.abort() })).exit.code).toBe(7);
  });

  it('kills a child that does not listen', async () => {
    const stop = new AbortController();
    const pids: number[] = [];
    const { exit } = await sh('trap "" TERM; echo up; while :; do sleep 0.01; done', {
      signal: stop.signal,
      onLine: () => stop.abort(),
      onStart: (pid) => pids.push(pid),
    });
    expect(exit).toEqual({ code: undefined, signal: 'SIGKILL' });
    expect(() => process.kill(pids[0] as number, 0)).toThrow('ESRCH');
  });
});
