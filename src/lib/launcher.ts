import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Order, Report } from './launcher-child.ts';
import type { Namespace } from './namespace.ts';
import { type Exit, type run, type RunOptions } from './spawn.ts';

/** Starts commands from a small process of its own. */
export interface Launcher {
  /** As {@link run} of spawn.ts. Rejects also when the launcher itself is killed; the next run starts it again. */
  run: typeof run;
  /** Ends it, and what it runs. */
  close(): void;
}

/**
 * Starting a child forks the whole process first, and the kernel then copies the page tables of all its memory: with
 * an embedded database in it, 16 to 35 ms in which nothing else runs (docs/adr/0005-copies-start-from-a-launcher.md).
 * @param inside where it lives then, with all that it starts; what connects to {@link relayPort} reaches the socket
 */
export function startLauncher(inside?: Namespace): Launcher {
  const waiting = new Map<number, { options: RunOptions; settle: (end: Exit | Error) => void }>();
  let next = 0;
  let child: ChildProcess | undefined = start();

  function start(): ChildProcess {
    // Source and published package have the same folder, with other endings.
    const path = fileURLToPath(import.meta.url).replace(/launcher(\.[jt]s)$/, 'launcher-child$1');
    const [execPath, ...before] = [...(inside?.command ?? []), process.execPath] as [string, ...string[]];
    const started = fork(path, inside ? [inside.socket] : [], {
      execPath,
      execArgv: [...before, ...process.execArgv],
      env: inside?.env ?? {},
      // A session of its own: Ctrl-C on our terminal is for us, and we decide what becomes of the copies.
      detached: true,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    started.on('message', (report: Report) => {
      const job = waiting.get(report.id);
      if ('line' in report) job?.options.onLine?.(report.line, report.stream);
      else if ('pid' in report) job?.options.onStart?.(report.pid);
      else job?.settle('exit' in report ? report.exit : Object.assign(new Error(report.message), report));
    });
    // A launcher that could not even be started says `error` and never `exit`: nobody may wait for it either.
    const gone = () => {
      if (child === started) child = undefined;
      for (const { settle } of waiting.values()) settle(new Error('The launcher of commands was ended.'));
    };
    started.on('error', gone);
    started.on('exit', gone);
    return started;
  }

  return {
    run: (command, args, options) =>
      new Promise<Exit>((resolve, reject) => {
        child ??= start();
        const id = next++;
        const send = (order: Order) => child?.connected && child.send(order, () => undefined);
        const stop = () => void send({ id, stop: true });
        const settle = (end: Exit | Error) => {
          waiting.delete(id);
          options.signal.removeEventListener('abort', stop);
          if (end instanceof Error) reject(end);
          else resolve(end);
        };
        waiting.set(id, { options, settle });
        const { env, input } = options;
        send({ id, command, args, env, ...(input !== undefined && { input }) });
        if (options.signal.aborted) stop();
        else options.signal.addEventListener('abort', stop, { once: true });
      }),
    close: () => child?.connected && child.disconnect(),
  };
}
