import { expect, it } from 'vitest';
import { MirrorError } from '../core/errors.ts';
import { createPacer } from './pacing.ts';

const refusal = (retryAfter?: number) =>
  new MirrorError('rate_limited', 'Too many requests.', {
    side: 'source',
    ...(retryAfter !== undefined && { retryAfter }),
  });

it.each([0, undefined])('keeps away from a registry that says 429 and names the time %s', (named) => {
  const lane = createPacer({ firstPause: 5, longestPause: 900 }).lane('docker.io', undefined);
  expect(lane.throttle(refusal(named)).retryAfter).toBeGreaterThanOrEqual(5);
  expect(() => lane.enter('source')).toThrow(/lets nobody in/);
});

it('waits as long as a registry names', () => {
  const lane = createPacer({ firstPause: 5, longestPause: 900 }).lane('docker.io', undefined);
  expect(lane.throttle(refusal(77)).retryAfter).toBe(77);
});
