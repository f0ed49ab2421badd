/** What was found out lately, shared by all who ask for the same thing; the oldest goes when there are too many. */
export interface Memo<T> {
  /** What a fetch gives, or gave, that began less than `maxAge` milliseconds ago; else fetches it. */
  get(key: string, maxAge: number, fetch: () => Promise<T>): Promise<T>;
  /** Fetches it in any case. */
  renew(key: string, fetch: () => Promise<T>): Promise<T>;
  drop(key: string): void;
}

/** Failures are not kept. Ages count from the start of a fetch: that is when the world was as it tells. */
export function createMemo<T>(limit: number): Memo<T> {
  const entries = new Map<string, { at: number; value: Promise<T> }>();

  function renew(key: string, fetch: () => Promise<T>): Promise<T> {
    const entry = { at: performance.now(), value: fetch() };
    entries.delete(key);
    entries.set(key, entry);
    if (entries.size > limit) entries.delete(entries.keys().next().value as string);
    entry.value.catch(() => {
      if (entries.get(key) === entry) entries.delete(key);
    });
    return entry.value;
  }

  return {
    get(key, maxAge, fetch) {
      const entry = entries.get(key);
      return entry && performance.now() - entry.at < maxAge ? entry.value : renew(key, fetch);
    },
    renew,
    drop: (key) => void entries.delete(key),
  };
}
