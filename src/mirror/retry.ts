import { setTimeout as sleep } from 'node:timers/promises';
import { asMirrorError } from '../core/errors.ts';

/** What a failure that may pass costs; seconds. */
export interface RetrySettings {
  /** How many times a copy is started before such a failure is called final. */
  tries: number;
  firstPause: number;
  longestPause: number;
}

/** By how much a pause is longer than the one before: with the defaults, five tries begin within about 40 s. */
const growth = 3;

/**
 * Milliseconds before try number `attempt` + 1, with jitter.
 * @param retryAfter seconds that the other side asked for: never less, and never beyond the longest pause.
 */
export function pauseAfter(
  attempt: number,
  { firstPause, longestPause }: RetrySettings,
  retryAfter = 0,
): number {
  const grown = Math.min(longestPause, firstPause * growth ** (attempt - 1)) * (0.75 + Math.random() / 2);
  return Math.max(grown, Math.min(retryAfter, longestPause)) * 1000;
}

const firstPause = 200;

/** The moment (performance.now()) at which a budget that begins now is used up. */
export function deadlineIn(seconds: number): number {
  return performance.now() + seconds * 1000;
}

/** Aborts at the deadline (performance.now()). */
export function signalUntil(deadline: number): AbortSignal {
  return AbortSignal.timeout(Math.max(1, Math.ceil(deadline - performance.now())));
}

/**
 * Tries something until it works, fails for good, or the deadline (performance.now()) has come: what is down for a
 * moment should cost its caller a moment. Pauses double from 0.2 s, with jitter; a pause that the other side asks
 * for is kept, or, if it is longer than what is left, ends the tries.
 * @throws MirrorError of the last try.
 */
export async function untilDeadline<T>(deadline: number, attempt: () => Promise<T>): Promise<T> {
  for (let pause = firstPause; ; pause *= 2) {
    try {
      return await attempt();
    } catch (caught) {
      const error = asMirrorError(caught);
      // A pause of nothing is asked for too, as by a Retry-After with a date that is over.
      const wait = error.retryAfter ? error.retryAfter * 1000 : pause * (0.5 + Math.random());
      if (!error.retryable || error.code === 'internal' || performance.now() + wait >= deadline) throw error;
      await sleep(wait);
    }
  }
}
