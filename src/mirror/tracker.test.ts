import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Digest } from '../core/digest.ts';
import type { CopyEvent } from '../executor/executor.ts';
import { createTracker } from './tracker.ts';
import type { Tree } from './tree.ts';

const digest = (n: number): Digest => `sha256:${String(n).repeat(64)}`;
const tree = {
  layers: new Map([
    [digest(1), 1000],
    [digest(2), 500],
  ]),
  configs: new Map([[digest(3), 10]]),
} as unknown as Tree;

it('counts finished blobs whole and the one on its way by what the kernel saw', () => {
  const tracker = createTracker();
  tracker.expect(tree);
  tracker.see({ type: 'blob', digest: digest(1), state: 'started' });
  tracker.see({ type: 'sent', bytes: 400 });
  expect(tracker.progress()).toEqual({ layersDone: 0, layersTotal: 2, bytesDone: 400, bytesTotal: 1510 });
  tracker.see({ type: 'blob', digest: digest(1), state: 'done' });
  tracker.see({ type: 'blob', digest: digest(2), state: 'skipped' });
  expect(tracker.progress()).toEqual({ layersDone: 2, layersTotal: 2, bytesDone: 1500, bytesTotal: 1510 });
});

it('does not let the overhead of the protocol pass for layers', () => {
  const tracker = createTracker();
  tracker.expect(tree);
  tracker.see({ type: 'blob', digest: digest(2), state: 'started' });
  tracker.see({ type: 'sent', bytes: 100_000 });
  expect(tracker.progress().bytesDone).toBe(500);
});

it('never goes back, never passes the total, and ends exactly at it', () => {
  const event: fc.Arbitrary<CopyEvent> = fc.oneof(
    fc.record({
      type: fc.constant('blob' as const),
      digest: fc.constantFrom(digest(1), digest(2), digest(3), digest(4)),
      state: fc.constantFrom('started' as const, 'done' as const, 'skipped' as const, 'mounted' as const),
    }),
    fc.record({ type: fc.constant('sent' as const), bytes: fc.nat(5000) }),
  );
  fc.assert(
    fc.property(fc.array(event), fc.nat(20), (events, treeAt) => {
      const tracker = createTracker();
      let last = 0;
      events.forEach((each, index) => {
        if (index === treeAt) tracker.expect(tree);
        tracker.see(each);
        const { bytesDone, bytesTotal } = tracker.progress();
        expect(bytesDone).toBeGreaterThanOrEqual(last);
        expect(bytesDone).toBeLessThanOrEqual(bytesTotal);
        last = bytesDone;
      });
      tracker.expect(tree);
      tracker.finish();
      expect(tracker.progress()).toEqual({
        layersDone: 2,
        layersTotal: 2,
        bytesDone: 1510,
        bytesTotal: 1510,
      });
    }),
  );
});

it('begins where an earlier try was, and does not go behind it', () => {
  const floor = { layersDone: 1, layersTotal: 2, bytesDone: 1100, bytesTotal: 1510 };
  const tracker = createTracker(floor);
  expect(tracker.progress()).toEqual(floor);
  tracker.see({ type: 'blob', digest: digest(2), state: 'started' });
  tracker.see({ type: 'sent', bytes: 100 });
  tracker.expect(tree);
  expect(tracker.progress()).toEqual(floor);
  tracker.see({ type: 'blob', digest: digest(1), state: 'skipped' });
  tracker.see({ type: 'sent', bytes: 300 });
  expect(tracker.progress()).toEqual({ ...floor, bytesDone: 1300 });
});

it('moves by whole blobs where the executor counts no bytes', () => {
  const tracker = createTracker();
  tracker.expect(tree);
  const seen = [3, 1, 2].map((n) => {
    tracker.see({ type: 'blob', digest: digest(n), state: 'started' });
    const before = tracker.progress();
    tracker.see({ type: 'blob', digest: digest(n), state: 'done' });
    const { bytesDone, layersDone } = tracker.progress();
    return [before.bytesDone, bytesDone, layersDone];
  });
  expect(seen).toEqual([
    [0, 10, 0],
    [10, 1010, 1],
    [1010, 1510, 2],
  ]);
});

it('tells what becomes of each layer once, when it is known what is one', () => {
  const tracker = createTracker();
  const see = (n: number, state: 'started' | 'done' | 'skipped' | 'mounted') =>
    tracker.see({ type: 'blob', digest: digest(n), state });
  const told = () => tracker.layers().map(({ digest: of, size, state }) => [of[7], size, state].join(' '));
  see(1, 'started');
  see(1, 'started');
  see(3, 'started');
  expect(told()).toEqual([]);
  tracker.expect(tree);
  see(1, 'done');
  see(1, 'skipped');
  expect(told()).toEqual(['1 1000 started', '1 1000 done']);
  expect(told()).toEqual([]);
  see(2, 'started');
  tracker.finish();
  expect(told()).toEqual(['2 500 started', '2 500 done']);
  const whole = createTracker();
  whole.expect(tree);
  whole.finish();
  expect(whole.layers().map(({ state }) => state)).toEqual(['skipped', 'skipped']);
});
