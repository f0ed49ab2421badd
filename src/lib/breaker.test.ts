import { beforeEach, describe, expect, it, vi } from 'vitest';
import { type Breaker, createBreaker } from './breaker.ts';

class Away extends Error {}

describe('a breaker', () => {
  let breaker: Breaker;
  let tries: number;
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['performance'] });
    tries = 0;
    breaker = createBreaker({
      pause: 1000,
      isAway: (error) => error instanceof Away,
      refusal: (key) => new Error(`${key} is refused`),
    });
    return () => vi.useRealTimers();
  });
  const attempt = (work: () => Promise<unknown>) =>
    breaker.run('a', () => {
      tries++;
      return work();
    });
  const away = () => attempt(() => Promise.reject(new Away()));
  const there = () => attempt(() => Promise.resolve('there'));

  it('lets everybody through while what they want is there', async () => {
    expect(await Promise.all([there(), there(), there()])).toEqual(['there', 'there', 'there']);
  });

  it('refuses at once for a while after it was away, and other keys never', async () => {
    await expect(away()).rejects.toThrow(Away);
    await expect(there()).rejects.toThrow('a is refused');
    expect(await breaker.run('b', async () => 'b')).toBe('b');
    expect(tries).toBe(1);
  });

  it('lets one try after that, and everybody when it is back', async () => {
    await expect(away()).rejects.toThrow(Away);
    vi.advanceTimersByTime(1001);
    const { promise, resolve } = Promise.withResolvers<string>();
    const probe = attempt(() => promise);
    await expect(there()).rejects.toThrow('refused');
    resolve('back');
    expect(await probe).toBe('back');
    expect(await there()).toBe('there');
  });

  it('goes on refusing when the try finds it away still, and stops when it fails for another reason', async () => {
    await expect(away()).rejects.toThrow(Away);
    vi.advanceTimersByTime(1001);
    await expect(away()).rejects.toThrow(Away);
    await expect(there()).rejects.toThrow('refused');
    vi.advanceTimersByTime(1001);
    await expect(attempt(() => Promise.reject(new Error('other')))).rejects.toThrow('other');
    expect(await there()).toBe('there');
  });
});
