/** Wakes those in this process who wait for a mirror to change. What has changed is on record: this only says "look". */
export interface Hub {
  /** A mirror has been changed, and that is committed. */
  poke(mirrorId: string): void;
  /** @param mirrorId absent: all of them. To be closed. */
  listen(mirrorId?: string): Ear;
  /** How many listen. */
  size(): number;
}

export interface Ear {
  /**
   * Resolves when there was a poke since the last call, after `most` milliseconds, or when `signal` is aborted.
   * @returns the moment of the poke (performance.now()): what was read earlier may be out of date.
   */
  wait(most: number, signal: AbortSignal): Promise<number | undefined>;
  close(): void;
}

/** What everybody listens to; no id of a mirror. */
const all = '';

export function createHub(): Hub {
  const ears = new Map<string, Set<() => void>>();

  function listen(topic: string = all): Ear {
    let poked: number | undefined;
    let wake: (() => void) | undefined;
    const notice = () => {
      poked = performance.now();
      wake?.();
    };
    const others = ears.get(topic) ?? new Set();
    ears.set(topic, others.add(notice));
    return {
      async wait(most, signal) {
        if (poked === undefined && !signal.aborted)
          await new Promise<void>((resolve) => {
            const timer = setTimeout(end, most);
            function end() {
              clearTimeout(timer);
              signal.removeEventListener('abort', end);
              wake = undefined;
              resolve();
            }
            wake = end;
            signal.addEventListener('abort', end);
          });
        const moment = poked;
        poked = undefined;
        return moment;
      },
      close() {
        others.delete(notice);
        if (others.size === 0 && ears.get(topic) === others) ears.delete(topic);
      },
    };
  }

  return {
    poke(mirrorId) {
      for (const topic of [mirrorId, all]) for (const notice of ears.get(topic) ?? []) notice();
    },
    listen,
    size: () => [...ears.values()].reduce((sum, { size }) => sum + size, 0),
  };
}
