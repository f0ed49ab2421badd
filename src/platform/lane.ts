import type { Line } from './line.ts';

export interface EndpointState {
  endpoint: string;
  state: 'connected' | 'waiting';
  /** Live ones. */
  sockets: number;
  /** When this state began. */
  since: Date;
  /** What went wrong last, for a reader. */
  lastError?: string;
}

/** The sockets of one endpoint, and those who want to use them. */
export interface Lane {
  readonly endpoint: string;
  readonly connected: boolean;
  /** Sockets, with those that have no pair yet. */
  readonly count: number;
  reserve(line: Line): void;
  /** It has its pair: it may be used. */
  add(line: Line): void;
  remove(line: Line, why: string): void;
  /** Waits, in order, for one of the places; false when stopped. Each who gets one must `leave`. */
  enter(stop: AbortSignal): Promise<boolean>;
  leave(): void;
  /**
   * The newest line that has room, rather one that was not tried; waits for one until it is stopped or, where none is
   * open, until that moment (performance.now()).
   */
  line(tried: ReadonlySet<object>, stop: AbortSignal, until: number): Promise<Line | undefined>;
  /** About so many milliseconds, unless stopped. */
  pause(milliseconds: number, stop: AbortSignal): Promise<void>;
  /** Keeps what went wrong for the state. */
  note(error: string): void;
  state(): EndpointState;
  /** Closes the lines; nobody waits for one any more. */
  close(): void;
}

/** Requests under way to one endpoint; Platform answers them from a pool of threads. */
const placeLimit = 64;

export function createLane(endpoint: string): Lane {
  const all = new Set<Line>();
  /** The newest first. */
  let live: Line[] = [];
  const waiting = new Set<() => void>();
  const queue = new Set<() => void>();
  let places = placeLimit;
  let since = new Date();
  let lastError: string | undefined;
  let closed = false;

  function wakeAll(): void {
    for (const wake of [...waiting]) wake();
  }

  return {
    endpoint,
    get connected() {
      return live.length > 0;
    },
    get count() {
      return all.size;
    },
    reserve: (line) => void all.add(line),
    add(line) {
      if (live.length === 0) since = new Date();
      live = [line, ...live];
      wakeAll();
    },
    remove(line, why) {
      all.delete(line);
      if (!live.includes(line)) return;
      live = live.filter((each) => each !== line);
      lastError = why;
      if (live.length === 0) since = new Date();
    },
    async enter(stop) {
      if (stop.aborted) return false;
      if (places > 0) {
        places--;
        return true;
      }
      let granted = false;
      let grant = () => {};
      await until(stop, (wake) => {
        grant = () => {
          granted = true;
          wake();
        };
        queue.add(grant);
        return () => queue.delete(grant);
      });
      return granted;
    },
    leave() {
      const [next] = queue;
      if (!next) {
        places++;
        return;
      }
      // The place goes to the next one without becoming free: nobody jumps the queue.
      queue.delete(next);
      next();
    },
    async line(tried, stop, deadline) {
      while (!stop.aborted && !closed) {
        const roomy = live.filter((line) => !line.full);
        const line = roomy.find((each) => !tried.has(each)) ?? roomy[0];
        if (line) return line;
        if (live.length > 0) {
          const drained = Promise.race(live.map((each) => each.drained()));
          await until(stop, (wake) => {
            void drained.then(wake);
            return () => {};
          });
          continue;
        }
        const left = deadline - performance.now();
        if (left <= 0) return undefined;
        await until(stop, (wake) => {
          waiting.add(wake);
          const timer = setTimeout(wake, left);
          return () => {
            waiting.delete(wake);
            clearTimeout(timer);
          };
        });
      }
      return undefined;
    },
    pause: (milliseconds, stop) =>
      until(stop, (wake) => {
        const timer = setTimeout(wake, milliseconds * (0.5 + Math.random()));
        return () => clearTimeout(timer);
      }),
    note: (error) => {
      lastError = error;
    },
    state: () => ({
      endpoint,
      state: live.length > 0 ? 'connected' : 'waiting',
      sockets: live.length,
      since,
      ...(lastError !== undefined && { lastError }),
    }),
    close() {
      closed = true;
      for (const line of [...all]) line.close(1001, 'The service is stopping.');
      wakeAll();
    },
  };
}

/** Waits for a wake-up or for the stop, whichever is first. `subscribe` gives back how to unsubscribe. */
function until(stop: AbortSignal, subscribe: (wake: () => void) => () => void) {
  return new Promise<void>((resolve) => {
    if (stop.aborted) return resolve();
    const wake = () => {
      stop.removeEventListener('abort', wake);
      unsubscribe();
      resolve();
    };
    stop.addEventListener('abort', wake);
    const unsubscribe = subscribe(wake);
  });
}

/** A signal that stops when the caller's does, or after so many milliseconds. */
export function stoppable(signal: AbortSignal, milliseconds: number): { stop: AbortSignal; release(): void } {
  const controller = new AbortController();
  const stop = () => controller.abort();
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop);
  const timer = setTimeout(stop, milliseconds);
  return {
    stop: controller.signal,
    release() {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
    },
  };
}
