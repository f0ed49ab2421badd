/** Spares those who would wait in vain for something that is away. */
export interface Breaker {
  /**
   * Does the work, unless the last that was done under this key found it away: then one at a time tries, once every
   * pause, and all others reject at once.
   * @param isAway whether a failure says so; any other end says that it is there.
   */
  run<T>(key: string, work: () => Promise<T>): Promise<T>;
}

export interface BreakerOptions {
  /** Milliseconds between two tries of what was away. */
  pause: number;
  isAway: (error: unknown) => boolean;
  /** What those get who are not let through. */
  refusal: (key: string) => Error;
}

/** Keys are few: they are kept for as long as they are away. */
export function createBreaker({ pause, isAway, refusal }: BreakerOptions): Breaker {
  const away = new Map<string, { until: number }>();
  return {
    async run(key, work) {
      const known = away.get(key);
      if (known && performance.now() < known.until) throw refusal(key);
      // Until this try has ended, nobody else makes one.
      if (known) known.until = Infinity;
      try {
        const result = await work();
        away.delete(key);
        return result;
      } catch (error) {
        if (isAway(error)) away.set(key, { until: performance.now() + pause });
        else away.delete(key);
        throw error;
      }
    },
  };
}
