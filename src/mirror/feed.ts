import { setTimeout as sleep } from 'node:timers/promises';
import type { Failure } from '../core/errors.ts';
import {
  isFinal,
  type Mirror,
  type MirrorState,
  type Phase,
  type Progress,
  type Wait,
} from '../core/mirror.ts';
import type { Cursor, EventStore, LayerChange, StoredEvent } from '../db/events.ts';
import type { MirrorStore } from '../db/mirrors.ts';
import type { RequestStore } from '../db/requests.ts';
import { createMemo } from '../lib/memo.ts';
import type { Caller } from './caller.ts';
import type { Hub } from './events.ts';

/** What is told of a mirror. */
export type MirrorEvent = { mirrorId: string; at: Date } & (
  | {
      type: 'state';
      state: MirrorState;
      attempts: number;
      progress: Progress;
      failure?: Failure;
      wait?: Wait;
      exitCode?: number;
    }
  | ({ type: 'layer' } & LayerChange)
  | { type: 'progress'; phase?: Phase; progress: Progress }
);

/** One thing that a stream tells. */
export interface Told<Place> {
  /** Absent: nothing new, and the stream is still alive. */
  event?: MirrorEvent;
  /** Whoever goes on behind it misses nothing. Absent where the event is not on record but is told again anyway. */
  place?: Place;
}

/** Live events. Each stream ends when its signal is aborted; it reads no faster than its reader does. */
export interface Feeds {
  /**
   * Of one mirror, until it has ended: from its beginning, or behind an id. The first thing comes at once; there is none
   * when it has ended and all was told.
   */
  ofMirror(mirrorId: string, after: number | undefined, signal: AbortSignal): AsyncGenerator<Told<number>>;
  /** Of all mirrors that a caller may see (those that it asked for, or all): from now on, or behind a place. */
  ofCaller(
    caller: Pick<Caller, 'tenant' | 'admin'>,
    after: Cursor | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<Told<Cursor>>;
  /** Whether this may be a place of this database's. */
  isPast(place: Cursor): Promise<boolean>;
}

export interface FeedOptions {
  mirrors: Pick<MirrorStore, 'get' | 'copying'>;
  requests: Pick<RequestStore, 'joined'>;
  events: EventStore;
  hub: Hub;
  /** Other processes write to the same database, unheard by the hub. */
  shared: boolean;
  /** Milliseconds after which a stream that has nothing to tell says that it is alive. */
  beat?: number;
}

/** Milliseconds between two looks at what others may have written. */
const lookEvery = 1000;
/** Milliseconds between two looks for events of many mirrors, which may change many times a second. */
const pace = 250;
/** Events that are read at once: what a stream whose reader does not read keeps in memory. */
const pageSize = 100;
/** Mirrors of others that a stream remembers to have told of. */
const metLimit = 10_000;

export function createFeeds({ mirrors, requests, events, hub, shared, beat = 15_000 }: FeedOptions): Feeds {
  // Many watch one mirror, and are woken by the same poke.
  const looks = createMemo<Mirror | undefined>(1000);
  const pages = createMemo<StoredEvent[]>(100);
  /** Milliseconds until one has to look, or to say that it is alive. */
  const restOf = (toldAt: number) =>
    Math.max(1, Math.min(shared ? lookEvery : beat, toldAt + beat - performance.now()));

  async function* ofMirror(
    mirrorId: string,
    after: number | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<Told<number>> {
    const ear = hub.listen(mirrorId);
    const progress = createProgress();
    let place = after ?? 0;
    let heard = performance.now();
    let toldAt = heard;
    try {
      while (!signal.aborted) {
        const age = performance.now() - heard;
        // Before its events: when it has ended, the last of them is among these.
        const mirror = await looks.get(mirrorId, age, () => mirrors.get(mirrorId));
        if (!mirror) return;
        const read = () => events.ofMirror(mirrorId, place, pageSize);
        const final = isFinal(mirror.state);
        const page = final ? await read() : await pages.get(`${mirrorId} ${place}`, age, read);
        for (const stored of page) {
          const event = toEvent(stored);
          place = stored.id;
          yield* progress.before(event);
          yield { event, place };
          if (isEnd(event)) return;
        }
        if (page.length > 0) {
          toldAt = performance.now();
          // What was read of the mirror before may be older than these.
          heard = toldAt;
          continue;
        }
        if (final) {
          // It ended before there were events.
          if (after === undefined) yield { event: stateOf(mirror) };
          return;
        }
        for (const told of progress.of(mirror)) {
          yield told;
          toldAt = performance.now();
        }
        if (performance.now() - toldAt >= beat) {
          yield {};
          toldAt = performance.now();
        }
        heard = (await ear.wait(restOf(toldAt), signal)) ?? performance.now();
      }
    } finally {
      ear.close();
    }
  }

  async function* ofCaller(
    { tenant, admin }: Pick<Caller, 'tenant' | 'admin'>,
    after: Cursor | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<Told<Cursor>> {
    const whose = admin ? undefined : tenant;
    const ear = hub.listen();
    const progress = createProgress();
    const met = new Set<string>();
    let toldAt = performance.now();
    try {
      let place = after ?? (await events.now());
      yield { place };
      while (!signal.aborted) {
        const page = await events.since(place, whose, pageSize);
        for (const stored of page.events) {
          const event = toEvent(stored);
          if (event.type === 'state') meet(met, event.mirrorId);
          yield* progress.before(event);
          yield { event, place: stored.cursor };
          toldAt = performance.now();
        }
        place = page.next;
        if (page.events.length === pageSize) continue;
        for (const mirror of await mirrors.copying(whose))
          for (const told of progress.of(mirror)) {
            yield told;
            toldAt = performance.now();
          }
        // Events of a mirror that somebody else has begun were not this caller's before its request was on record.
        const joined = whose === undefined ? [] : await requests.joined(whose);
        for (const id of joined.filter((each) => !met.has(each))) {
          const mirror = await mirrors.get(id);
          meet(met, id);
          if (mirror) yield { event: stateOf(mirror) };
        }
        if (performance.now() - toldAt >= beat) {
          yield { place };
          toldAt = performance.now();
        }
        await sleep(pace, undefined, { signal }).catch(() => undefined);
        await ear.wait(restOf(toldAt), signal);
      }
    } finally {
      ear.close();
    }
  }

  return {
    ofMirror,
    ofCaller,
    async isPast(place) {
      const now = await events.now();
      return BigInt(place.xid) <= BigInt(now.xid);
    },
  };
}

function meet(met: Set<string>, id: string): void {
  met.add(id);
  if (met.size > metLimit) met.delete(met.values().next().value as string);
}

/** What a stream has told of how far mirrors are: each step once, and none back. */
function createProgress() {
  const told = new Map<string, { phase?: Phase | undefined; progress: Progress }>();

  function* tell(
    mirrorId: string,
    at: Date,
    progress: Progress,
    phase?: Phase,
  ): Generator<{ event: MirrorEvent }> {
    const last = told.get(mirrorId);
    if (last) {
      const { bytesDone, layersDone, bytesTotal } = last.progress;
      // The record was read before what has been told since.
      if (progress.bytesDone < bytesDone || progress.layersDone < layersDone) return;
      const same = [progress.bytesDone, progress.layersDone, progress.bytesTotal].join();
      if (same === [bytesDone, layersDone, bytesTotal].join() && phase === last.phase) return;
    }
    told.set(mirrorId, { phase, progress });
    yield { event: { type: 'progress', mirrorId, at, ...(phase && { phase }), progress } };
  }

  return {
    of: ({ id, progress, phase }: Mirror) => tell(id, new Date(), progress, phase),
    /** The last step comes before the end. */
    *before(event: MirrorEvent) {
      if (!isEnd(event)) return;
      const { mirrorId, at, progress } = event;
      yield* tell(mirrorId, at, progress, told.get(mirrorId)?.phase);
      told.delete(mirrorId);
    },
  };
}

type StateEvent = Extract<MirrorEvent, { type: 'state' }>;

function isEnd(event: MirrorEvent): event is StateEvent {
  return event.type === 'state' && isFinal(event.state);
}

/** Where there is no event that tells it. */
function stateOf({ id: mirrorId, state, attempts, progress, failure, wait, exitCode }: Mirror): StateEvent {
  return {
    ...{ type: 'state', mirrorId, at: new Date(), state, attempts, progress },
    ...(failure && { failure }),
    ...(wait && { wait }),
    ...(exitCode !== undefined && { exitCode }),
  };
}

/** What `noteState` of db/events.ts writes. */
interface StateData extends Progress {
  state: MirrorState;
  attempts: number;
  failure?: Failure;
  waitHost?: string;
  waitUntil?: string;
  exitCode?: number;
}

function toEvent({ mirrorId, at, type, data }: StoredEvent): MirrorEvent {
  if (type === 'layer') return { type, mirrorId, at, ...(data as unknown as LayerChange) };
  const {
    state,
    attempts,
    failure,
    waitHost: host,
    waitUntil: until,
    exitCode,
    ...progress
  } = data as unknown as StateData;
  return {
    ...{ type, mirrorId, at, state, attempts, progress },
    ...(failure && { failure }),
    ...(until && { wait: { until: new Date(until), ...(host !== undefined && { host }) } }),
    ...(exitCode !== undefined && { exitCode }),
  };
}
