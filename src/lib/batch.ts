/**
 * Group commit: items that arrive while a flush is under way go together in the next one. Each `add` settles
 * with the flush that took its item, and with what that gave.
 */
export function createBatcher<T, R = void>(
  flush: (items: T[]) => Promise<R>,
  limit: number,
): { add(item: T): Promise<R> } {
  let waiting: { item: T; resolve: (result: R) => void; reject: (reason: unknown) => void }[] = [];
  let running = false;

  async function run(): Promise<void> {
    running = true;
    // One turn of the event loop collects what arrived together.
    await new Promise(setImmediate);
    while (waiting.length > 0) {
      const batch = waiting.slice(0, limit);
      waiting = waiting.slice(limit);
      try {
        const result = await flush(batch.map(({ item }) => item));
        for (const { resolve } of batch) resolve(result);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    running = false;
  }

  return {
    add: (item) =>
      new Promise((resolve, reject) => {
        waiting.push({ item, resolve, reject });
        if (!running) void run();
      }),
  };
}
