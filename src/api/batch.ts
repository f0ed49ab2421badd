import type { FastifyRequest } from 'fastify';
import { asMirrorError, type MirrorError } from '../core/errors.ts';
import type { Choice } from '../core/selection.ts';
import { askEach, type Outcome, type Pair, pairsOf } from '../mirror/batch.ts';
import type { NewMirrors, OutcomeErrorView } from '../wire/mirror.ts';
import { noteFailure } from './errors.ts';
import type { Limits } from './limits.ts';

/**
 * Answers a request for many: asks for every image at every target. The request itself was counted as one submit; each
 * further pair is one too, counted before anything starts, and those that are over a limit are refused and not asked for.
 * When the client goes away, what was not begun is left.
 */
export async function askAll<T>(
  request: FastifyRequest<{ Body: Pick<NewMirrors, 'images' | 'to'> }>,
  limits: Pick<Limits, 'countMore'>,
  ask: (pair: Pair) => Promise<T>,
): Promise<Outcome<T>[]> {
  const { images, to } = request.body;
  const pairs = pairsOf(images, typeof to === 'string' ? [to] : to);
  const refusals = new Map<Pair, Error>();
  for (const pair of new Set(pairs)) {
    if (pair === pairs[0]) continue;
    const refusal = limits.countMore(request);
    if (refusal) refusals.set(pair, refusal);
  }
  const gone = new AbortController();
  const leave = () => gone.abort();
  if (request.socket.destroyed) leave();
  request.socket.once('close', leave);
  try {
    return await askEach(
      pairs,
      async (pair) => {
        try {
          const refusal = refusals.get(pair);
          if (refusal) throw refusal;
          return await ask(pair);
        } catch (error) {
          noteFailure(request, asMirrorError(error));
          throw error;
        }
      },
      gone.signal,
    );
  } finally {
    request.socket.off('close', leave);
  }
}

/** What a body says of what is wanted of its images. */
export function choiceOf({ platforms, referrers }: NewMirrors): Choice {
  return { ...(platforms && { platforms }), ...(referrers !== undefined && { referrers }) };
}

export function toErrorView(error: MirrorError): OutcomeErrorView {
  const { retryAfter } = error;
  return { ...error.toFailure(), ...(retryAfter !== undefined && { retryAfter }) };
}
