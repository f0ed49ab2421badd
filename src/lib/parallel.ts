/** Runs `work` on every item, at most `limit` at once, in order. The first rejection stops the taking of more. */
export async function inParallel<T>(
  items: readonly T[],
  limit: number,
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  const queue = items.entries();
  let stopped = false;
  const next = async () => {
    for (const [index, item] of queue) {
      if (stopped) return;
      await work(item, index).catch((error: unknown) => {
        stopped = true;
        throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, next));
}
