import { describe, expect, it } from 'vitest';
import { createHub } from './events.ts';

const { signal } = new AbortController();
const long = 60_000;

describe('the hub', () => {
  it('wakes who waits for this mirror or for all, and nobody else', async () => {
    const hub = createHub();
    const [one, other, all] = [hub.listen('mr-1'), hub.listen('mr-2'), hub.listen()];
    const woken: string[] = [];
    const waiting = [one.wait(long, signal), all.wait(long, signal)];
    void other.wait(long, signal).then(() => woken.push('other'));
    hub.poke('mr-1');
    await Promise.all(waiting);
    expect(woken).toEqual([]);
    hub.poke('mr-2');
  });

  it('forgets no poke that comes while its listener is busy, and tells when it was', async () => {
    const hub = createHub();
    const ear = hub.listen('mr-1');
    const before = performance.now();
    hub.poke('mr-1');
    hub.poke('mr-1');
    const moment = await ear.wait(long, signal);
    expect(moment).toBeGreaterThanOrEqual(before);
    // Both were one.
    expect(await ear.wait(1, signal)).toBeUndefined();
  });

  it('lets a listener go when it is aborted, before or while it waits', async () => {
    const hub = createHub();
    const ear = hub.listen();
    const stop = new AbortController();
    const waiting = ear.wait(long, stop.signal);
    stop.abort();
    expect(await waiting).toBeUndefined();
    expect(await ear.wait(long, stop.signal)).toBeUndefined();
  });

  it('keeps nobody who has gone', async () => {
    const hub = createHub();
    const ears = [hub.listen('mr-1'), hub.listen('mr-1'), hub.listen()];
    expect(hub.size()).toBe(3);
    for (const ear of ears) {
      ear.close();
      ear.close();
    }
    expect(hub.size()).toBe(0);
    const again = hub.listen('mr-1');
    hub.poke('mr-1');
    expect(await again.wait(long, signal)).toBeDefined();
    again.close();
  });
});
