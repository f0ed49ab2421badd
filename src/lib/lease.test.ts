import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { beforeEnd, createLeases } from './lease.ts';

const { signal } = new AbortController();
const create = (limit = 10) => createLeases<string>({ limit, patience: 1000 });

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance', 'Date'] }));
afterEach(() => void vi.useRealTimers());

/** Fetches `a1`, `a2`…, each good for a second. */
function source(name = 'a') {
  let count = 0;
  return async () => ({ value: `${name}${++count}`, expires: performance.now() + 1000 });
}

it('fetches once for all who ask for the same, and again when it has ended', async () => {
  const leases = create();
  const fetch = source();
  const ask = () => leases.get('key', signal, fetch);
  expect(await Promise.all([ask(), ask(), ask()])).toEqual(['a1', 'a1', 'a1']);
  vi.advanceTimersByTime(999);
  expect(await ask()).toBe('a1');
  vi.advanceTimersByTime(1);
  expect(await ask()).toBe('a2');
});

it('keeps what belongs to different keys apart', async () => {
  const leases = create();
  expect(await leases.get('a', signal, source('a'))).toBe('a1');
  expect(await leases.get('b', signal, source('b'))).toBe('b1');
});

it('lets one who gives up go, without taking it from the others', async () => {
  const leases = create();
  const { promise, resolve } = Promise.withResolvers<{ value: string; expires: number }>();
  const seen: AbortSignal[] = [];
  const fetch = (own: AbortSignal) => {
    seen.push(own);
    return promise;
  };
  const impatient = new AbortController();
  const first = leases.get('key', impatient.signal, fetch);
  const second = leases.get('key', signal, fetch);
  impatient.abort(new Error('enough'));
  await expect(first).rejects.toThrow('enough');
  resolve({ value: 'late', expires: Infinity });
  expect(await second).toBe('late');
  expect(seen.map(({ aborted }) => aborted)).toEqual([false]);
  await expect(leases.get('key', impatient.signal, fetch)).rejects.toThrow('enough');
});

it('does not keep a failure', async () => {
  const leases = create();
  await expect(leases.get('key', signal, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(await leases.get('key', signal, source())).toBe('a1');
});

it('keeps no more than its limit', async () => {
  const leases = create(2);
  for (const key of ['a', 'b', 'c']) await leases.get(key, signal, source(key));
  const again = source('again');
  expect(await leases.get('c', signal, again)).toBe('c1');
  expect(await leases.get('b', signal, again)).toBe('b1');
  expect(await leases.get('a', signal, again)).toBe('again1');
});

it('says when nine tenths of a life are over', () => {
  expect(beforeEnd(Date.now() + 1000)).toBeCloseTo(performance.now() + 900);
});

it('ends a fetch that takes too long, whether or not it listens', async () => {
  const leases = createLeases<string>({ limit: 1, patience: 5 });
  await expect(leases.get('key', signal, () => new Promise(() => undefined))).rejects.toMatchObject({
    name: 'TimeoutError',
  });
  expect(await leases.get('key', signal, source())).toBe('a1');
});

it('forgets what proved to be good no more, but not what was fetched since or is being fetched', async () => {
  const leases = create();
  const fetch = source();
  const ask = () => leases.get('key', signal, fetch);
  expect(await ask()).toBe('a1');
  leases.drop('key', 'a1');
  const second = ask();
  leases.drop('key', 'a1');
  expect(await second).toBe('a2');
  leases.drop('key', 'a1');
  expect(await ask()).toBe('a2');
});
