import { serveRelay } from './relay.ts';
import { type Exit, run } from './spawn.ts';

/** What the launcher is told. */
export type Order =
  | { id: number; command: string; args: readonly string[]; env: Record<string, string>; input?: string }
  | { id: number; stop: true };

/** What it tells. */
export type Report = { id: number } & (
  | { line: string; stream: 'stdout' | 'stderr' }
  | { pid: number }
  | { exit: Exit }
  | { message: string; code?: string }
);

const running = new Map<number, AbortController>();
const report = (what: Report) => process.connected && process.send?.(what);

process.on('message', (order: Order) => {
  const { id } = order;
  if ('stop' in order) return running.get(id)?.abort();
  const stop = new AbortController();
  running.set(id, stop);
  const { command, args, env, input } = order;
  run(command, args, {
    env,
    ...(input !== undefined && { input }),
    signal: stop.signal,
    onLine: (line, stream) => report({ id, line, stream }),
    onStart: (pid) => report({ id, pid }),
  })
    .then(
      (exit) => report({ id, exit }),
      (error: unknown) => {
        const { message, code } = error as NodeJS.ErrnoException;
        return report({ id, message, ...(code !== undefined && { code }) });
      },
    )
    .finally(() => running.delete(id));
});

// Whoever started us is gone, or wants no more: what still runs is stopped, and then nothing keeps us.
process.on('disconnect', () => {
  for (const stop of running.values()) stop.abort();
});

const [socket] = process.argv.slice(2);
if (socket !== undefined) serveRelay(socket);
