import { expect, it } from 'vitest';
import { createSlots } from './slots.ts';

it('lets so many run at once, the others in their order, and goes on behind one that fails', async () => {
  const inSlot = createSlots(2);
  const started: number[] = [];
  const ends: (() => void)[] = [];
  const work = (n: number) =>
    inSlot(() => {
      started.push(n);
      return new Promise<number>((resolve, reject) => {
        ends[n] = () => (n === 0 ? reject(new Error('x')) : resolve(n));
      });
    });
  const all = [0, 1, 2, 3].map((n) => work(n));
  const settled = Promise.allSettled(all);
  expect(started).toEqual([0, 1]);
  ends[0]?.();
  await expect(all[0]).rejects.toThrow('x');
  await expect.poll(() => started).toEqual([0, 1, 2]);
  ends[1]?.();
  expect(await all[1]).toBe(1);
  await expect.poll(() => started).toEqual([0, 1, 2, 3]);
  ends[2]?.();
  ends[3]?.();
  expect((await settled).map(({ status }) => status)).toEqual([
    'rejected',
    ...Array<string>(3).fill('fulfilled'),
  ]);
});
