import { type ChildProcess, spawn as start } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface RunOptions {
  /** The child's whole environment. */
  env: Record<string, string>;
  /** Written to the child's standard input, which is closed then. */
  input?: string;
  onLine?: (line: string, stream: 'stdout' | 'stderr') => void;
  /** Called with the process id once the child runs. */
  onStart?: (pid: number) => void;
  /** Stops the child: SIGTERM, and SIGKILL when it has not ended 1.5 s later. */
  signal: AbortSignal;
}

export interface Exit {
  /** Undefined when it died of a signal. */
  code: number | undefined;
  signal: NodeJS.Signals | undefined;
}

/** Milliseconds that a child may take to end after SIGTERM. */
const grace = 1500;

/** Characters of one line that are read; what follows is cut. */
const lineLimit = 16 * 1024;

/**
 * Runs a command, without a shell, to its end.
 * @returns how it ended; a signal or a status that is not 0 is no error here.
 * @throws the spawn's own error (`code: 'ENOENT'` when there is no such command). The child is gone in every case.
 */
export async function run(command: string, args: readonly string[], options: RunOptions): Promise<Exit> {
  const child = start(command, args, { env: options.env, stdio: ['pipe', 'pipe', 'pipe'] });
  // A child that does not read its input breaks the pipe; how it ends says what went wrong.
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  for (const stream of ['stdout', 'stderr'] as const)
    createInterface({ input: child[stream] }).on('line', (line) =>
      options.onLine?.(line.slice(0, lineLimit), stream),
    );
  if (child.pid !== undefined) options.onStart?.(child.pid);
  return ended(child, options.signal);
}

function ended(child: ChildProcess, signal: AbortSignal): Promise<Exit> {
  return new Promise((resolve, reject) => {
    let killer: NodeJS.Timeout | undefined;
    const stop = () => {
      child.kill('SIGTERM');
      killer = setTimeout(() => {
        child.kill('SIGKILL');
        // A grandchild may have inherited the pipes and keep them open for as long as it likes.
        child.stdout?.destroy();
        child.stderr?.destroy();
      }, grace);
    };
    const settle = () => {
      clearTimeout(killer);
      signal.removeEventListener('abort', stop);
    };
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
    child.on('error', (error) => {
      settle();
      reject(error);
    });
    child.on('close', (code, died) => {
      settle();
      resolve({ code: code ?? undefined, signal: died ?? undefined });
    });
  });
}
