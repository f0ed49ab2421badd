import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { Ask, GuardRules, Told } from './guard-worker.ts';
import { relayPort } from './relay.ts';

/** A forward proxy for our own children, which holds their connections to the same policy as ours. */
export interface Guard {
  /**
   * Lets one child through, until its pass ends.
   * @param plain whether it has to speak plain HTTP to anybody
   */
  admit(plain: boolean): Promise<Pass>;
  /** Breaks off everything. */
  close(): Promise<void>;
}

export interface Pass {
  /** Variables that lead a Go program through the guard. */
  env: Record<string, string>;
  /**
   * Breaks off what the child has left open; its pass is good for nothing then.
   * @returns what the guard said when it first refused a connection of this child
   */
  end(): Promise<string | undefined>;
}

/**
 * Starts it in a thread of its own: whole images pass through it. A fault in it ends this process, as any of ours does.
 */
export async function startGuard(rules: GuardRules): Promise<Guard> {
  // Source and published package have the same folder, with other endings.
  const path = fileURLToPath(import.meta.url).replace(/guard(\.[jt]s)$/, 'guard-worker$1');
  const worker = new Worker(path, { workerData: rules, env: {} });
  const waiting = new Map<number, (refused: string | undefined) => void>();
  let next = 0;
  // A child reaches a unix socket through the relay of its network namespace.
  const [{ port = relayPort }] = (await once(worker, 'message')) as [Exclude<Told, { id: number }>];
  worker.on('message', (told: Told) => {
    if (!('id' in told)) return;
    waiting.get(told.id)?.(told.refused);
    waiting.delete(told.id);
  });
  // Nobody waits for an answer that can't come any more.
  let gone = false;
  worker.once('exit', () => {
    gone = true;
    for (const settle of waiting.values()) settle(undefined);
  });

  const ask = (what: { admit: string } | { end: string }) =>
    new Promise<string | undefined>((resolve) => {
      if (gone) return resolve(undefined);
      const id = next++;
      waiting.set(id, resolve);
      worker.postMessage({ id, ...what } satisfies Ask);
    });

  return {
    async admit(plain) {
      const secret = randomBytes(24).toString('hex');
      await ask({ admit: secret });
      const url = `http://dray:${secret}@127.0.0.1:${port}`;
      let ended: Promise<string | undefined> | undefined;
      return {
        env: {
          ...{ HTTP_PROXY: url, HTTPS_PROXY: url, http_proxy: url, https_proxy: url },
          ...{ NO_PROXY: '', no_proxy: '' },
          // Go reaches 127.0.0.1 and localhost past every proxy. But where this variable says that it is a CGI
          // script, it sends no plain HTTP at all, to nobody, while it has HTTP_PROXY (golang.org/s/cgihttpproxy).
          ...(!plain && { REQUEST_METHOD: 'NONE' }),
        },
        end: () => (ended ??= ask({ end: secret })),
      };
    },
    async close() {
      await worker.terminate();
    },
  };
}
