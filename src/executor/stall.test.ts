import { describe, expect, it } from 'vitest';
import { bytesMoved, createStallWatch, type Moved } from './stall.ts';

const limit = 1000;

/** A watch and its clock; `look` goes on by so many milliseconds and then by so many bytes. */
function watched() {
  let at = 0;
  let moved: Moved = { read: 30_000, reads: 100, written: 6000, writes: 80 };
  const watch = createStallWatch(limit, () => at);
  watch.stalled(moved);
  return {
    watch,
    look: (after: number, more: Partial<Moved> = {}) => {
      at += after;
      const add = (name: keyof Moved) => moved[name] + (more[name] ?? 0);
      moved = { read: add('read'), reads: add('reads'), written: add('written'), writes: add('writes') };
      return watch.stalled(moved);
    },
    lookBlindly: (after: number) => {
      at += after;
      return watch.stalled(undefined);
    },
  };
}

describe('a copy stands still', () => {
  it('when it moves nothing for the whole limit', () => {
    const { look } = watched();
    expect([look(500), look(499), look(1)]).toEqual([false, false, true]);
  });

  // As seen of Skopeo 1.9.3 and 1.22, whose registry had stopped answering.
  it.each([
    ['a pipe', 1],
    ['an eventfd', 8],
  ])('when it only wakes itself up through %s', (_, bytes) => {
    const { look } = watched();
    const tick = { read: bytes, reads: 1, written: bytes, writes: 1 };
    expect([look(300, tick), look(300, tick), look(300, tick), look(300, tick)]).toEqual([
      ...[false, false, false],
      true,
    ]);
  });

  it('when nobody counts its bytes and it says nothing, before its first blob', () => {
    const { watch, lookBlindly } = watched();
    expect(lookBlindly(900)).toBe(false);
    watch.heard();
    expect([lookBlindly(900), lookBlindly(100)]).toEqual([false, true]);
  });
});

describe('a copy goes on', () => {
  it('when it moves a few bytes now and then, next to its wake-ups', () => {
    const { look } = watched();
    for (let n = 0; n < 5; n++) expect(look(900, { read: 21, reads: 2, written: 1, writes: 1 })).toBe(false);
    for (let n = 0; n < 5; n++) expect(look(900, { read: 1, reads: 1, written: 21, writes: 2 })).toBe(false);
  });

  it('when nobody counts its bytes and a blob is on its way', () => {
    const { watch, lookBlindly } = watched();
    watch.began();
    expect(lookBlindly(limit * 100)).toBe(false);
  });
});

it('reads the counters of a process, and nothing of one that is gone', () => {
  expect(bytesMoved(process.pid)).toMatchObject({ read: expect.any(Number) as number });
  expect(bytesMoved(2 ** 30)).toBeUndefined();
});
