import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { MirrorError } from '../core/errors.ts';
import { createPacer, type Lane } from './pacing.ts';

const settings = { firstPause: 5, longestPause: 60 };
const login = { username: 'a', password: 'b' };

/** Seconds for which nobody is let in; 0: it is open. */
function closedFor(lane: Lane): number {
  try {
    lane.enter('source');
    return 0;
  } catch (error) {
    expect(error).toMatchObject({ code: 'rate_limited', side: 'source', retryable: true });
    return (error as MirrorError).retryAfter ?? NaN;
  }
}
const refusal = (retryAfter?: number) =>
  new MirrorError('rate_limited', 'x', { side: 'source', ...(retryAfter !== undefined && { retryAfter }) });

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});
const pass = (seconds: number) => vi.advanceTimersByTime(seconds * 1000);

describe('a lane', () => {
  it('closes for as long as the registry says, and tells how long that still is', () => {
    const lane = createPacer(settings).lane('a.io', login);
    expect(lane.throttle(refusal(10)).retryAfter).toBe(10);
    pass(4);
    expect(closedFor(lane)).toBe(6);
    pass(6);
    expect(closedFor(lane)).toBe(0);
  });

  it('is one for all who come with the same login, and another for every other login and registry', () => {
    const pacer = createPacer(settings);
    pacer.lane('a.io', { ...login }).throttle(refusal(10));
    expect(closedFor(pacer.lane('a.io', { ...login }))).toBe(10);
    expect(closedFor(pacer.lane('a.io', undefined))).toBe(0);
    expect(closedFor(pacer.lane('a.io', { ...login, password: 'c' }))).toBe(0);
    expect(closedFor(pacer.lane('b.io', login))).toBe(0);
    pacer.lane('a.io', undefined).throttle(refusal(20));
    expect(closedFor(pacer.lane('a.io', undefined))).toBe(20);
    expect(closedFor(pacer.lane('a.io', login))).toBe(10);
  });

  it('closes for pauses that double where no time is named, until a copy has passed', () => {
    const lane = createPacer(settings).lane('a.io', undefined);
    const pauses = [5, 10, 20, 40, 60, 60].map((least) => {
      const pause = lane.throttle(refusal()).retryAfter ?? 0;
      expect(pause).toBeGreaterThanOrEqual(least);
      expect(pause).toBeLessThanOrEqual(Math.ceil(least * 1.1));
      pass(pause);
      return pause;
    });
    expect(pauses.length).toBe(6);
    lane.passed();
    expect(lane.throttle(refusal()).retryAfter).toBeLessThanOrEqual(6);
  });

  it('takes the refusals of copies that ran side by side for one', () => {
    const lane = createPacer(settings).lane('a.io', undefined);
    for (let n = 0; n < 8; n++) expect(lane.throttle(refusal()).retryAfter).toBeLessThanOrEqual(6);
  });

  it('does not let anybody spin on a time that is over, or is no time at all', () => {
    const lane = createPacer(settings).lane('a.io', undefined);
    const first = lane.throttle(refusal(0)).retryAfter ?? 0;
    expect(first).toBeGreaterThanOrEqual(5);
    pass(first);
    expect(lane.throttle(refusal(0)).retryAfter).toBeGreaterThanOrEqual(10);
  });

  it('looks again after a day, whatever is named', () => {
    const lane = createPacer(settings).lane('a.io', undefined);
    expect(lane.throttle(refusal(999_999_999)).retryAfter).toBe(86_400);
  });

  it('keeps the longest of the times that were named, and prefers any to its own guess', () => {
    const pacer = createPacer(settings);
    const lane = pacer.lane('a.io', undefined);
    lane.throttle(refusal());
    pacer.observe('a.io', undefined, { refused: { retryAfter: 2 } });
    expect(closedFor(lane)).toBe(2);
    pacer.observe('a.io', undefined, { refused: { retryAfter: 30 } });
    pacer.observe('a.io', undefined, { refused: { retryAfter: 3 } });
    expect(lane.throttle(refusal()).retryAfter).toBe(30);
  });

  it('is not shaken by a clock that is set', () => {
    const lane = createPacer(settings).lane('a.io', undefined);
    lane.throttle(refusal(10));
    vi.setSystemTime(Date.now() + 86_400_000);
    expect(closedFor(lane)).toBe(10);
    vi.setSystemTime(Date.now() - 7 * 86_400_000);
    pass(10);
    expect(closedFor(lane)).toBe(0);
  });

  it('closes with the last of a budget until it is refilled, and opens as soon as something is left', () => {
    const pacer = createPacer(settings);
    const lane = pacer.lane('a.io', login);
    pacer.observe('a.io', login, { budget: { remaining: 0, limit: 10, reset: 100 } });
    expect(closedFor(lane)).toBe(100);
    pacer.observe('a.io', login, { budget: { remaining: 3, limit: 10 } });
    expect(closedFor(lane)).toBe(0);
    pacer.observe('a.io', login, { budget: { remaining: 0 } });
    expect(closedFor(lane)).toBeGreaterThanOrEqual(5);
  });

  it('is not opened by what is left when the registry has refused', () => {
    const pacer = createPacer(settings);
    const lane = pacer.lane('a.io', login);
    pacer.observe('a.io', login, { budget: { remaining: 0, reset: 10 } });
    pacer.observe('a.io', login, { refused: { retryAfter: 60 } });
    pacer.observe('a.io', login, { budget: { remaining: 1 } });
    expect(closedFor(lane)).toBe(60);
  });

  it('waits for the reset of a refusal that names no other time', () => {
    const pacer = createPacer(settings);
    pacer.observe('a.io', undefined, { refused: {}, budget: { remaining: 0, reset: 7 } });
    expect(closedFor(pacer.lane('a.io', undefined))).toBe(7);
  });

  it('is scarce with less than half of a budget left', () => {
    const pacer = createPacer(settings);
    const lane = pacer.lane('a.io', login);
    expect(lane.isScarce()).toBe(false);
    pacer.observe('a.io', login, { budget: { remaining: 50, limit: 100 } });
    expect(lane.isScarce()).toBe(false);
    pacer.observe('a.io', login, { budget: { remaining: 49 } });
    expect(lane.isScarce()).toBe(true);
  });

  it('that is in use stays known, however many others come', () => {
    const pacer = createPacer(settings);
    pacer.lane('a.io', undefined).throttle(refusal(1000));
    for (let n = 0; n < 15_000; n++) {
      pacer.lane(`${n}.io`, undefined);
      if (n % 5000 === 0) pacer.lane('a.io', undefined);
    }
    expect(closedFor(pacer.lane('a.io', undefined))).toBe(1000);
  });
});
