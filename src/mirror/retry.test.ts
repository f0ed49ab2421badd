import { describe, expect, it, vi } from 'vitest';
import { MirrorError } from '../core/errors.ts';
import { deadlineIn, pauseAfter, signalUntil, untilDeadline } from './retry.ts';

const settings = { tries: 5, firstPause: 1, longestPause: 60 };

describe('the pause after a try', () => {
  it.each([
    [1, 1],
    [2, 3],
    [3, 9],
    [4, 27],
    [5, 60],
    [1000, 60],
  ])('number %i is about %i s, by chance a quarter shorter or longer', (attempt, seconds) => {
    const pauses = Array.from({ length: 200 }, () => pauseAfter(attempt, settings));
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(750 * seconds);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(1250 * seconds);
    expect(new Set(pauses).size).toBeGreaterThan(100);
  });

  it('is what the other side asks for, if that is longer, and never beyond the longest', () => {
    expect(pauseAfter(1, settings, 30)).toBe(30_000);
    expect(pauseAfter(1, settings, 0)).toBeGreaterThanOrEqual(750);
    expect(pauseAfter(1, settings, 3600)).toBe(60_000);
  });
});

describe('trying until a deadline', () => {
  /** What becomes of something that fails so often, and how often it was tried. */
  async function tried(error: MirrorError, { failures = Infinity, seconds = 1.5 } = {}) {
    let tries = 0;
    const end = await untilDeadline(deadlineIn(seconds), () =>
      ++tries > failures ? Promise.resolve('ok') : Promise.reject(error),
    ).catch((caught: unknown) => caught);
    return { end, tries };
  }

  it('gives what works at last', async () => {
    expect(await tried(new MirrorError('reset', 'x'), { failures: 2 })).toEqual({ end: 'ok', tries: 3 });
  });

  it('ends with the last failure, after pauses that double', async () => {
    const error = new MirrorError('reset', 'x');
    const { end, tries } = await tried(error);
    expect(end).toBe(error);
    expect(tries).toBeGreaterThan(2);
    expect(tries).toBeLessThan(6);
  });

  it('ends at once with what stays', async () => {
    expect(await tried(new MirrorError('denied', 'x'))).toMatchObject({ tries: 1 });
    expect(await tried(new MirrorError('internal', 'x'))).toMatchObject({ tries: 1 });
  });

  it('keeps a pause that it is asked for, and ends at once with one that is too long', async () => {
    expect(await tried(new MirrorError('rate_limited', 'x', { retryAfter: 1 }))).toMatchObject({ tries: 2 });
    expect(await tried(new MirrorError('rate_limited', 'x', { retryAfter: 2 }))).toMatchObject({ tries: 1 });
  });

  it('does not spin when it is asked for a pause of nothing', async () => {
    const { tries } = await tried(new MirrorError('registry_unavailable', 'x', { retryAfter: 0 }));
    expect(tries).toBeLessThan(6);
  });
});

describe('a signal until a deadline', () => {
  it('aborts then, also when it has passed', async () => {
    const late = signalUntil(performance.now() - 5);
    const soon = signalUntil(performance.now() + 50);
    expect(soon.aborted).toBe(false);
    await vi.waitFor(() => expect([late.aborted, soon.aborted]).toEqual([true, true]));
  });
});
