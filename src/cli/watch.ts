import { setTimeout as sleep } from 'node:timers/promises';
import { asMirrorError, type ErrorCode, MirrorError } from '../core/errors.ts';
import { isFinal } from '../core/mirror.ts';
import { deadlineIn, untilDeadline } from '../mirror/retry.ts';
import type { MirrorEventView } from '../wire/event.ts';
import type { MirrorView } from '../wire/mirror.ts';
import type { Client } from './client.ts';

/** How a mirror is, as far as its events tell. */
export type Seen = Pick<MirrorView, 'state' | 'phase' | 'progress' | 'failure' | 'wait'>;

export interface WatchOptions {
  signal: AbortSignal;
  /** Seconds for which the service may be away: one that restarts goes on with its copies, and so do we. */
  patience?: number;
  /** Hears of every event. */
  onEvent?: ((event: MirrorEventView) => void) | undefined;
}

/** The service can't be asked any more; what it has accepted goes on. */
export class LostSight extends Error {
  override readonly name = 'LostSight';
}

const defaultPatience = 60;
/** Milliseconds between two looks at a mirror: often while it is new, since small images take no longer. */
const polls = { first: 100, later: 500, until: 3000 };
/** Milliseconds before a stream that was cut is opened again; doubled while nothing comes of it. */
const reopen = { first: 250, last: 4000 };
/** So many streams that bring nothing, one after the other, are kept from us on their way: by a proxy that collects answers. */
const emptyLimit = 2;

/** The service is older than its event streams, or has no room for another one: then one may still ask. */
const streamless: readonly ErrorCode[] = ['unknown_id', 'too_many_requests', 'too_many_streams'];

type Service = Pick<Client, 'url' | 'mirror' | 'events'>;

/**
 * Reports a mirror of the service's until it has ended.
 * @throws LostSight when the service is not there any more, or answers no more; MirrorError `unknown_id`.
 */
export async function watch(
  service: Service,
  id: string,
  report: (seen: Seen) => void,
  { signal, patience = defaultPatience, onEvent }: WatchOptions,
): Promise<void> {
  /** What is asked again while the service is away. */
  const patiently = <T>(ask: () => Promise<T>): Promise<T> =>
    untilDeadline(deadlineIn(patience), ask).catch((caught: unknown) => {
      signal.throwIfAborted();
      throw lost(asMirrorError(caught), service.url, id);
    });
  let seen: Seen | undefined;
  for await (const event of eventsOf(service, id, signal, patiently)) {
    onEvent?.(event);
    seen = after(seen, event);
    if (seen && event.type !== 'layer') report(seen);
    if (event.type === 'state' && isFinal(event.state)) return;
  }
}

type Patiently = <T>(ask: () => Promise<T>) => Promise<T>;

/** Every event once, over streams that are cut. */
async function* eventsOf(
  service: Service,
  id: string,
  signal: AbortSignal,
  patiently: Patiently,
): AsyncGenerator<MirrorEventView> {
  let place: string | undefined;
  let empty = 0;
  let pause = reopen.first;
  while (empty < emptyLimit) {
    const stream = await patiently(() =>
      service.events(id, place, signal).catch((caught: unknown) => {
        if (streamless.includes(asMirrorError(caught).code)) return undefined;
        throw caught;
      }),
    );
    if (!stream) break;
    empty++;
    for await (const brought of stream) {
      empty = 0;
      place = brought.id ?? place;
      if (brought.id !== undefined) pause = reopen.first;
      if (brought.event) yield brought.event;
    }
    await sleep(pause * (0.75 + Math.random() / 2), undefined, { signal });
    pause = Math.min(pause * 2, reopen.last);
  }
  yield* pollEvents(service, id, signal, patiently);
}

/** What can be seen of the events by asking. */
async function* pollEvents(
  service: Service,
  id: string,
  signal: AbortSignal,
  patiently: Patiently,
): AsyncGenerator<MirrorEventView> {
  const started = performance.now();
  let told = { state: '', step: '' };
  for (;;) {
    const { state, attempts, phase, progress, failure, wait, exitCode } = await patiently(() =>
      service.mirror(id),
    );
    const common = { mirror: id, at: new Date().toISOString() };
    const now = { state: JSON.stringify([state, attempts, wait]), step: JSON.stringify([phase, progress]) };
    const step = { type: 'progress', ...common, ...(phase && { phase }), ...progress } as const;
    // The last step comes before the end, and any other behind the state that it belongs to.
    if (isFinal(state) && now.step !== told.step) yield step;
    if (now.state !== told.state) {
      yield {
        ...{ type: 'state', ...common, state, attempts, progress },
        ...(failure && { failure }),
        ...(wait && { wait }),
        ...(exitCode !== undefined && { exitCode }),
      };
      told.step = JSON.stringify([undefined, progress]);
    }
    if (isFinal(state)) return;
    if (now.step !== told.step) yield step;
    told = now;
    const young = performance.now() - started < polls.until;
    await sleep(young ? polls.first : polls.later, undefined, { signal });
  }
}

/** How it is after an event. */
function after(seen: Seen | undefined, event: MirrorEventView): Seen | undefined {
  if (event.type === 'layer') return seen;
  if (event.type === 'progress') {
    const { layersDone, layersTotal, bytesDone, bytesTotal, phase } = event;
    if (!seen) return undefined;
    const { state, failure, wait } = seen;
    return {
      ...{ state, progress: { layersDone, layersTotal, bytesDone, bytesTotal } },
      ...(phase && { phase }),
      ...(failure && { failure }),
      ...(wait && { wait }),
    };
  }
  const { state, progress, failure, wait } = event;
  return { state, progress, ...(failure && { failure }), ...(wait && { wait }) };
}

function lost(error: MirrorError, url: string, id: string): Error {
  // It has no such mirror: nothing goes on there.
  if (error.code === 'unknown_id') return error;
  const why =
    error.code === 'refused'
      ? `lost the service at ${url}`
      : `${url} tells no more: ${error.message.replace(/\.$/, '')}`;
  return new LostSight(`${why}; the copy goes on there: dray status ${id}`, { cause: error });
}
