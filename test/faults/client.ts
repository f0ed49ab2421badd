import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainerAnswer, ContainerStatus } from '../fixtures/world.ts';
import type { Failure } from './invariants.ts';
import type { FaultWorld } from './world.ts';

/** What became of one request. */
export type Outcome =
  /** Not accepted: a refusal for good, or one that was repeated often enough. */
  | { end: 'refused'; status: number; failure: Failure }
  | { end: 'done'; answer: ContainerAnswer; attempts: number }
  | { end: 'failed'; answer: ContainerAnswer; failure: Failure | undefined; attempts: number }
  /** Nothing came of it in time. */
  | { end: 'unheard'; what: string };

export interface Request {
  image: string;
  to: string;
}

interface MirrorAnswer {
  state: string;
  attempts: number;
  failure?: Failure;
  wait?: { until?: string; host?: string };
}

/** What a request waits for, as GET /v1/mirrors/:id tells it. */
export type Wait = NonNullable<MirrorAnswer['wait']> & { state: string; attempts: number };

/** Hears of a request. `present`: it was just said that the image is there. */
export interface Listener {
  present: (answer: ContainerAnswer) => Promise<void>;
  waits?: (wait: Wait) => void;
}

/** Milliseconds. */
const limits = { submit: 45_000, end: 120_000, call: 20_000, longestPause: 1000 };
/** How often a submit that is answered with 503 is repeated. */
const refusals = 8;

/**
 * Asks for a mirror as a client does that waits for its end. A service that is dead at the moment is asked again
 * when it is back.
 */
export async function request(world: FaultWorld, wanted: Request, listener: Listener): Promise<Outcome> {
  const submitted = await submit(world, wanted);
  if ('end' in submitted) return submitted;
  const answer = submitted;
  if (answer.succeeded === true) await listener.present(answer);
  const until = performance.now() + limits.end;
  for (let polls = 0; performance.now() < until; polls++) {
    const status = await call<ContainerStatus>(
      world,
      'GET',
      `/v1alpha2/container/${answer.requestId}/status`,
    );
    if (status && status.status !== 200)
      return { end: 'unheard', what: `its status answered ${status.status}: ${JSON.stringify(status.body)}` };
    if (status?.body.status === 'DONE') {
      if (status.body.succeeded === true) {
        await listener.present(answer);
        const mirror = await readMirror(world, status.body.mirrorId);
        return { end: 'done', answer, attempts: mirror?.attempts ?? 0 };
      }
      const mirror = await readMirror(world, status.body.mirrorId);
      return { end: 'failed', answer, failure: mirror?.failure, attempts: mirror?.attempts ?? 0 };
    }
    if (listener.waits && status && polls % 4 === 0) {
      const mirror = await readMirror(world, status.body.mirrorId);
      if (mirror?.wait) listener.waits({ ...mirror.wait, state: mirror.state, attempts: mirror.attempts });
    }
    await sleep(60);
  }
  return { end: 'unheard', what: `it did not end within ${limits.end / 1000} s` };
}

async function submit(world: FaultWorld, { image, to }: Request): Promise<ContainerAnswer | Outcome> {
  const until = performance.now() + limits.submit;
  let refused: Outcome = { end: 'unheard', what: 'the service could not be reached' };
  for (let tries = 0; tries < refusals && performance.now() < until;) {
    const { key } = await world.service();
    const body = { mirror: true, containerImage: image, buildRepository: to, towerAccessToken: key };
    const answer = await call<ContainerAnswer>(world, 'POST', '/v1alpha2/container', body);
    if (!answer) {
      await sleep(50);
      continue;
    }
    if (answer.status === 200) return answer.body;
    const { code = '', side, message } = answer.body;
    const failure = { code, ...(side !== undefined && { side }), ...(message !== undefined && { message }) };
    refused = { end: 'refused', status: answer.status, failure };
    if (answer.status !== 503) return refused;
    const seconds = Number(answer.headers.get('retry-after') ?? NaN);
    if (!(seconds > 0)) return { end: 'unheard', what: 'a 503 came without Retry-After' };
    // Whoever is told to come back in a quarter of an hour has been told enough.
    if (seconds > 30) return refused;
    tries++;
    await sleep(Math.min(seconds * 1000, limits.longestPause));
  }
  return refused;
}

async function readMirror(world: FaultWorld, id: string | null): Promise<MirrorAnswer | undefined> {
  for (let tries = 0; id !== null && tries < 20; tries++) {
    const answer = await call<MirrorAnswer>(world, 'GET', `/v1/mirrors/${id}`);
    if (answer?.status === 200) return answer.body;
    await sleep(100);
  }
  return undefined;
}

/** @returns undefined when the service was killed, or is, while it was asked. */
async function call<T>(
  world: FaultWorld,
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; headers: Headers; body: T } | undefined> {
  const { url, key } = await world.service();
  try {
    const answer = await fetch(url + path, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(limits.call),
    });
    return { status: answer.status, headers: answer.headers, body: (await answer.json()) as T };
  } catch (error) {
    if ((error as Error).name === 'TimeoutError') throw error;
    return undefined;
  }
}
