import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Stage } from './stage.ts';

/** What the generator is to do. */
export interface Plan {
  port: number;
  path: string;
  /** The JSON that every request carries. */
  body: string;
  connections: number;
  /** How long each connection sends one request after another; absent: one request each, all at once. */
  seconds?: number;
  /** Seconds before that whose requests do not count. */
  warmUp?: number;
}

/** What came back. Times in milliseconds. */
export interface Load {
  requests: number;
  /** Those of the warm-up too. */
  answers: number;
  /** Requests whose answer was not 200, or did not come. */
  failures: number;
  /** One answer that was not 200, to tell why. */
  example?: string;
  perSecond: number;
  p50: number;
  p99: number;
  /** From the first request to the last answer. */
  took: number;
  /** How much of one core the generator itself took: near 1, it and not the server sets the rate. */
  cpuShare: number;
  /** Values of `buildId` and numbers of different `requestId`s in the answers, where each connection sent one. */
  buildIds: string[];
  requestIds: number;
}

/** Runs the generator in a process of its own, so that it takes nothing from the server's or from ours. */
export async function generateLoad(stage: Stage, plan: Plan): Promise<Load> {
  const { made: child, end } = await stage.keep(
    Promise.resolve(fork(fileURLToPath(new URL('generator.ts', import.meta.url)))),
    async (generator) => {
      if (generator.exitCode !== null || generator.signalCode !== null) return;
      generator.kill();
      await once(generator, 'exit');
    },
  );
  const failed = once(child, 'exit').then(([code]) => {
    throw new Error(`The load generator ended with ${String(code)}.`);
  });
  failed.catch(() => undefined);
  child.send(plan);
  const [load] = (await Promise.race([once(child, 'message'), failed])) as [Load];
  await end();
  return load;
}
