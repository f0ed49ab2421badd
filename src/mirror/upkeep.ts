import { setTimeout as sleep } from 'node:timers/promises';
import type { Place, RetentionStore } from '../db/retention.ts';

/** Days for which things are kept. */
export interface RetentionSettings {
  /** Records of mirrors that have ended, and of requests. */
  records: number;
  /** Their logs and events. */
  logs: number;
}

const day = 86_400_000;
/** Rows of one batch, and milliseconds between two: whoever asks for something meanwhile waits for one batch at most. */
const batch = 500;
const between = 50;
/** Milliseconds before the first round, and between two, at most. */
const longestStart = 60_000;
const longestRound = 6 * 3_600_000;

/**
 * Removes what is older than the settings say, now and then until the signal is aborted.
 * @returns resolves then.
 */
export async function keepTidy(
  store: RetentionStore,
  { records, logs }: RetentionSettings,
  signal: AbortSignal,
  onError: (error: unknown) => void,
): Promise<void> {
  const round = Math.min(longestRound, (logs * day) / 4);
  // Soon: one that is started anew every few hours tidies as well.
  let wait = Math.min(longestStart, round);
  // Not all replicas at the same time.
  while (await pause(wait * (0.75 + Math.random() / 2), signal)) {
    await tidy(store, { records, logs }, Date.now(), signal).catch(onError);
    wait = round;
  }
}

/** One round. Throws MirrorError where the database fails: the next round goes on. */
export async function tidy(
  store: RetentionStore,
  { records, logs }: RetentionSettings,
  now: number,
  signal: AbortSignal,
): Promise<void> {
  const old = new Date(now - records * day);
  const silent = new Date(now - logs * day);
  await inBatches((after: Place | undefined) => store.trim(silent, after, batch), signal);
  await inBatches((after: Place | undefined) => store.removeMirrors(old, after, batch), signal);
  await inBatches(async () => (await store.removeRequests(old, batch)) || undefined, signal);
}

/** @param next does a batch after a place, and says where the next one begins. */
async function inBatches<T>(
  next: (after: T | undefined) => Promise<T | undefined>,
  signal: AbortSignal,
): Promise<void> {
  let place: T | undefined;
  do place = await next(place);
  while (place !== undefined && (await pause(between, signal)));
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<boolean> {
  await sleep(milliseconds, undefined, { signal, ref: false }).catch(() => undefined);
  return !signal.aborted;
}
