import { describe, expect, it } from 'vitest';
import { createMemo } from './memo.ts';

/** Counts its calls. */
const counter = () => {
  let calls = 0;
  return () => Promise.resolve(++calls);
};

describe('a memo', () => {
  it('fetches once for all who ask meanwhile, and for as long as it is young enough', async () => {
    const memo = createMemo<number>(10);
    const fetch = counter();
    expect(await Promise.all([memo.get('a', 60_000, fetch), memo.get('a', 60_000, fetch)])).toEqual([1, 1]);
    expect(await memo.get('a', 60_000, fetch)).toBe(1);
    expect(await memo.get('a', 0, fetch)).toBe(2);
    expect(await memo.get('b', 60_000, fetch)).toBe(3);
  });

  it('fetches again when told to, or after a drop', async () => {
    const memo = createMemo<number>(10);
    const fetch = counter();
    await memo.get('a', 60_000, fetch);
    expect(await memo.renew('a', fetch)).toBe(2);
    expect(await memo.get('a', 60_000, fetch)).toBe(2);
    memo.drop('a');
    expect(await memo.get('a', 60_000, fetch)).toBe(3);
  });

  it('keeps no failure, and no more than its limit', async () => {
    const memo = createMemo<number>(2);
    const fetch = counter();
    await expect(memo.get('a', 60_000, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await memo.get('a', 60_000, fetch)).toBe(1);
    await memo.get('b', 60_000, fetch);
    await memo.get('c', 60_000, fetch);
    expect(await memo.get('c', 60_000, fetch)).toBe(3);
    expect(await memo.get('a', 60_000, fetch)).toBe(4);
  });
});
