import { describe, expect, it } from 'vitest';
import { createKeyedMutex } from './mutex.ts';

describe('createKeyedMutex', () => {
  it('runs work of one key one after another, in order', async () => {
    const mutex = createKeyedMutex();
    const events: string[] = [];
    const work = (name: string) => async () => {
      events.push(`${name} begins`);
      await new Promise(setImmediate);
      events.push(`${name} ends`);
      return name;
    };
    const names = ['a', 'b', 'c'];
    expect(await Promise.all(names.map((name) => mutex.run('key', work(name))))).toEqual(names);
    expect(events).toEqual(names.flatMap((name) => [`${name} begins`, `${name} ends`]));
  });

  it('runs work of different keys side by side', async () => {
    const mutex = createKeyedMutex();
    const met = Promise.withResolvers<string>();
    const waits = mutex.run('a', () => met.promise);
    await mutex.run('b', async () => met.resolve('met'));
    expect(await waits).toBe('met');
  });

  it('tells a failure to the caller of the failed work only', async () => {
    const mutex = createKeyedMutex();
    const bad = mutex.run('key', () => Promise.reject(new Error('bad')));
    const good = mutex.run('key', async () => 'good');
    await expect(bad).rejects.toThrow('bad');
    expect(await good).toBe('good');
    expect(await mutex.run('key', async () => 'later')).toBe('later');
  });
});
