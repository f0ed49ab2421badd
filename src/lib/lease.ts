/** Something that is good until a moment (performance.now()). */
export interface Lease<T> {
  value: T;
  expires: number;
}

/** What is good for a while, such as a login, and dear to get: shared by all who ask for the same. */
export interface Leases<T> {
  /**
   * The lease of this key that still runs or is being fetched; else fetches one. Whoever gives up leaves it to the
   * others.
   * @throws the signal's reason, or what the fetch threw, which is not kept.
   */
  get(key: string, signal: AbortSignal, fetch: (signal: AbortSignal) => Promise<Lease<T>>): Promise<T>;
  /** Forgets what proved to be good no more; what another has fetched since, or is fetching, stays. */
  drop(key: string, value: T): void;
}

/**
 * @param limit how many are kept; the oldest goes first.
 * @param patience milliseconds that a fetch may take, however long its callers would wait.
 */
export function createLeases<T>({ limit, patience }: { limit: number; patience: number }): Leases<T> {
  const leases = new Map<string, { expires: number; value?: T; lease: Promise<Lease<T>> }>();
  return {
    async get(key, signal, fetch) {
      signal.throwIfAborted();
      let entry = leases.get(key);
      if (!entry || performance.now() >= entry.expires) {
        const own = AbortSignal.timeout(patience);
        // Some libraries take no signal: what hangs in one must not hang here for ever.
        const fresh: typeof entry = { expires: Infinity, lease: unlessAborted(fetch(own), own) };
        entry = fresh;
        leases.delete(key);
        leases.set(key, fresh);
        if (leases.size > limit) leases.delete(leases.keys().next().value as string);
        fresh.lease.then(
          (lease) => Object.assign(fresh, lease),
          () => leases.get(key) === fresh && leases.delete(key),
        );
      }
      return (await unlessAborted(entry.lease, signal)).value;
    },
    drop(key, value) {
      if (leases.get(key)?.value === value) leases.delete(key);
    },
  };
}

/** The moment (performance.now()) at which nine tenths of what is left until `end` (Date.now()) are over. */
export function beforeEnd(end: number): number {
  return performance.now() + (end - Date.now()) * 0.9;
}

function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason as Error);
    signal.addEventListener('abort', stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}
