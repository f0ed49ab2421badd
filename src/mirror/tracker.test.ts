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
