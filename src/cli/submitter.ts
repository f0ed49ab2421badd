import { MirrorError } from '../core/errors.ts';
import { createBatcher } from '../lib/batch.ts';
import type { Pair } from '../mirror/batch.ts';
import { type NewMirrors, type OutcomeError, toError } from './client.ts';

/** Images in one request, and pairs: the service takes more images, but who waits wants to see something. */
const requestLimits = { images: 100, pairs: 1000 };

/** Asks for pairs; those that are asked for at the same time go in one request. */
export interface Submitter<T> {
  /** @throws MirrorError what the service says of this pair, or of the request that it was in. */
  submit(pair: Pair): Promise<T>;
}

/**
 * @param ask makes one request of the service, which answers pair by pair.
 * @param targets how many there are, so that all pairs of an image are in one request.
 */
export function createSubmitter<T extends { error?: OutcomeError }>(
  ask: (batch: NewMirrors) => Promise<T[]>,
  targets: number,
  wanted: Omit<NewMirrors, 'images' | 'to'>,
): Submitter<T> {
  const images = Math.max(1, Math.min(requestLimits.images, Math.floor(requestLimits.pairs / targets)));

  const batcher = createBatcher<Pair, Map<Pair, T>>(async (pairs) => {
    const outcomes = new Map<Pair, T>();
    // At first every image goes to every target. Those that are asked for again later may differ in it.
    const byImage = Map.groupBy(pairs, ({ image }) => image);
    const requests = Map.groupBy(byImage.values(), (of) => JSON.stringify(of.map(({ to }) => to)));
    for (const [to, together] of requests) {
      const answered = await ask({
        ...wanted,
        images: together.map(([pair]) => pair?.image ?? ''),
        to: JSON.parse(to) as string[],
      });
      for (const [n, pair] of together.flat().entries()) {
        const outcome = answered[n];
        if (outcome) outcomes.set(pair, outcome);
      }
    }
    return outcomes;
  }, images * targets);

  return {
    async submit(pair) {
      const outcome = (await batcher.add(pair)).get(pair);
      if (!outcome) throw new MirrorError('protocol', 'The service has left out an answer.');
      if (outcome.error) throw toError(outcome.error);
      return outcome;
    },
  };
}
