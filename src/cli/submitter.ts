import { MirrorError } from '../core/errors.ts';
import { createBatcher } from '../lib/batch.ts';
import type { Pair } from '../mirror/batch.ts';
import type { Client, NewMirrors, Outcome } from './client.ts';
import { toError } from './client.ts';

/** Images in one request, and pairs: the service takes more images, but who waits wants to see something. */
const requestLimits = { images: 100, pairs: 1000 };

/** Asks for pairs; those that are asked for at the same time go in one request. */
export interface Submitter {
  /** @throws MirrorError what the service says of this pair, or of the request that it was in. */
  submit(pair: Pair): Promise<Outcome>;
}

/** @param targets how many there are, so that all pairs of an image are in one request. */
export function createSubmitter(
  service: Pick<Client, 'submit'>,
  targets: number,
  wanted: Omit<NewMirrors, 'images' | 'to'>,
): Submitter {
  const images = Math.max(1, Math.min(requestLimits.images, Math.floor(requestLimits.pairs / targets)));

  const batcher = createBatcher<Pair, Map<Pair, Outcome>>(async (pairs) => {
    const outcomes = new Map<Pair, Outcome>();
    // At first every image goes to every target. Those that are asked for again later may differ in it.
    const byImage = Map.groupBy(pairs, ({ image }) => image);
    const requests = Map.groupBy(byImage.values(), (of) => JSON.stringify(of.map(({ to }) => to)));
    for (const [to, together] of requests) {
      const answered = await service.submit({
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
