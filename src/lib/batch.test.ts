import { describe, expect, it } from 'vitest';
import { createBatcher } from './batch.ts';

describe('createBatcher', () => {
  /** A batcher whose flushes are noted, and end when they are told to. */
  function watched(limit = 100) {
    const flushes: { items: number[]; end: () => void }[] = [];
    const batcher = createBatcher<number>(
      (items) => new Promise((resolve) => flushes.push({ items, end: resolve })),
      limit,
    );
    return { batcher, flushes, begun: (count: number) => expect.poll(() => flushes.length).toBe(count) };
  }

  it('flushes together what arrives together', async () => {
    const { batcher, flushes, begun } = watched();
    const added = [1, 2, 3].map((item) => batcher.add(item));
    await begun(1);
    expect(flushes[0]?.items).toEqual([1, 2, 3]);
    flushes[0]?.end();
    await Promise.all(added);
    expect(flushes).toHaveLength(1);
  });

  it('keeps what arrives during a flush for the next, and settles each with its own', async () => {
    const { batcher, flushes, begun } = watched();
    const settled: number[] = [];
    const add = (item: number) => batcher.add(item).then(() => settled.push(item));
    const first = add(1);
    await begun(1);
    const later = [add(2), add(3)];
    expect(settled).toEqual([]);
    flushes[0]?.end();
    await first;
    await begun(2);
    expect(settled).toEqual([1]);
    expect(flushes[1]?.items).toEqual([2, 3]);
    flushes[1]?.end();
    await Promise.all(later);
  });

  it('never flushes more than its limit at once', async () => {
    const flushed: number[][] = [];
    const batcher = createBatcher<number>(async (items) => void flushed.push(items), 2);
    await Promise.all([1, 2, 3, 4, 5].map((item) => batcher.add(item)));
    expect(flushed).toEqual([[1, 2], [3, 4], [5]]);
  });

  it('tells those of a failed flush, and goes on with the next', async () => {
    const batcher = createBatcher<string>(async (items) => {
      if (items.includes('bad')) throw new Error('refused');
    }, 2);
    const results = await Promise.allSettled(['bad', 'beside', 'good'].map((item) => batcher.add(item)));
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'fulfilled']);
    await batcher.add('later');
  });
});
