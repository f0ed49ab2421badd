import { describe, expect, it } from 'vitest';
import { createBuckets } from './buckets.ts';

let now = 1000;
const clock = () => now;

describe('a bucket', () => {
  it('holds what may be taken in a minute, and tells how long one has to wait then', () => {
    const buckets = createBuckets(3, { now: clock });
    expect([1, 2, 3].map(() => buckets.take('a'))).toEqual([0, 0, 0]);
    expect(buckets.take('a')).toBe(20_000);
    now += 5000;
    expect(buckets.take('a')).toBe(15_000);
    expect(buckets.look('a')).toBe(15_000);
    expect(buckets.take('b')).toBe(0);
  });

  it.each([3, 7, 60, 30_000, 1_200_000])('of %i a minute lets in whoever waited as long as told', (limit) => {
    const buckets = createBuckets(limit, { now: clock });
    for (let round = 0; round < 3; round++) {
      let wait: number;
      while ((wait = buckets.take('a')) === 0) now += 0.0007;
      now += wait;
      expect(buckets.take('a')).toBe(0);
      expect(buckets.take('a')).toBeGreaterThan(0);
    }
  });

  it('fills evenly and does not overflow', () => {
    const buckets = createBuckets(60, { now: clock });
    while (buckets.take('a') === 0);
    now += 10_000;
    let taken = 0;
    while (buckets.take('a') === 0) taken++;
    expect(taken).toBe(10);
    now += 1_000_000;
    while (buckets.take('a') === 0) taken++;
    expect(taken).toBe(70);
  });

  it('takes back', () => {
    const buckets = createBuckets(1, { now: clock });
    for (let n = 0; n < 5; n++) {
      expect(buckets.take('a')).toBe(0);
      buckets.giveBack('a');
    }
    expect(buckets.take('a')).toBe(0);
    expect(buckets.take('a')).toBe(60_000);
  });

  it('of 0 a minute has no bottom', () => {
    const buckets = createBuckets(0, { now: clock });
    for (let n = 0; n < 100; n++) expect(buckets.take('a')).toBe(0);
  });
});

it('remembers those used lately, whatever other keys somebody invents', () => {
  const buckets = createBuckets(1, { now: clock, keys: 100 });
  buckets.take('a');
  for (let n = 0; n < 10_000; n++) {
    buckets.take(`invented-${n}`);
    if (n % 90 === 0) expect(buckets.take('a')).toBeGreaterThan(0);
  }
});

it('forgets what was not used for long: its memory has a bound', () => {
  const buckets = createBuckets(1, { now: clock, keys: 100 });
  buckets.take('a');
  for (let n = 0; n < 200; n++) buckets.take(`invented-${n}`);
  expect(buckets.take('a')).toBe(0);
});
