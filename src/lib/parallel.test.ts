import { describe, expect, it } from 'vitest';
import { inParallel } from './parallel.ts';

describe('inParallel', () => {
  it.each([
    [1, 10],
    [3, 10],
    [20, 10],
    [4, 0],
  ])('with a limit of %i does %i items, each once and in order, never more at once', async (limit, count) => {
    const items = Array.from({ length: count }, (_, index) => `item ${index}`);
    const begun: [string, number][] = [];
    let [running, most] = [0, 0];
    await inParallel(items, limit, async (item, index) => {
      begun.push([item, index]);
      most = Math.max(most, ++running);
      await new Promise(setImmediate);
      running--;
    });
    expect(begun).toEqual(items.map((item, index) => [item, index]));
    expect(most).toBe(Math.min(limit, count));
    expect(running).toBe(0);
  });

  it('takes nothing more after a failure', async () => {
    const begun: number[] = [];
    const all = inParallel([1, 2, 3, 4, 5, 6], 2, async (item) => {
      begun.push(item);
      await new Promise(setImmediate);
      if (item === 2) throw new Error('two');
    });
    await expect(all).rejects.toThrow('two');
    await new Promise(setImmediate);
    expect(begun.length).toBeLessThanOrEqual(3);
  });
});
