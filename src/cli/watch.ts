import { setTimeout as sleep } from 'node:timers/promises';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import { deadlineIn, untilDeadline } from '../mirror/retry.ts';
import type { MirrorView } from '../wire/mirror.ts';
import type { Client } from './client.ts';

export interface WatchOptions {
  signal: AbortSignal;
  /** Seconds for which the service may be away: one that restarts goes on with its copies, and so do we. */
  patience?: number;
}

/** The service can't be asked any more; what it has accepted goes on. */
export class LostSight extends Error {
  override readonly name = 'LostSight';
}

const defaultPatience = 60;
/** Milliseconds between two looks at a mirror: often while it is new, since small images take no longer. */
const polls = { first: 100, later: 500, until: 3000 };

/**
 * Reports a mirror of the service's until it has ended.
 * @throws LostSight when the service is not there any more, or answers no more; MirrorError `unknown_id`.
 */
export async function watch(
  service: Pick<Client, 'url' | 'mirror'>,
  id: string,
  report: (seen: MirrorView) => void,
  { signal, patience = defaultPatience }: WatchOptions,
): Promise<void> {
  const started = performance.now();
  for (;;) {
    const seen = await untilDeadline(deadlineIn(patience), () => service.mirror(id)).catch(
      (caught: unknown) => {
        signal.throwIfAborted();
        throw lost(asMirrorError(caught), service.url, id);
      },
    );
    report(seen);
    if (['done', 'failed', 'cancelled'].includes(seen.state)) return;
    const young = performance.now() - started < polls.until;
    await sleep(young ? polls.first : polls.later, undefined, { signal });
  }
}

function lost(error: MirrorError, url: string, id: string): Error {
  // It has no such mirror: nothing goes on there.
  if (error.code === 'unknown_id') return error;
  const why =
    error.code === 'refused'
      ? `lost the service at ${url}`
      : `${url} tells no more: ${error.message.replace(/\.$/, '')}`;
  return new LostSight(`${why}; the copy goes on there: dray status ${id}`, { cause: error });
}
