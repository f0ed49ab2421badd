import { asMirrorError, type ErrorCode, MirrorError } from '../core/errors.ts';
import { inParallel } from '../lib/parallel.ts';
import { routeOf } from './target.ts';

/** One image for one target, both as the caller wrote them. */
export interface Pair {
  image: string;
  /** The target: host, or host and path. */
  to: string;
}

/** What became of one pair: one of both. */
export interface Outcome<T> extends Pair {
  answer?: T;
  error?: MirrorError;
}

/** How many pairs of a batch are asked for at once. */
export const parallel = 16;

/** Said of a host, not of an image, by who has asked it for as long as a submit may. */
const ofHosts: readonly ErrorCode[] = ['registry_unavailable', 'timeout', 'reset', 'refused', 'rate_limited'];

/** Every image for every target, image by image; a pair that comes twice is the same object. */
export function pairsOf(images: readonly string[], targets: readonly string[]): Pair[] {
  const known = new Map<string, Pair>();
  return images.flatMap((image) =>
    targets.map((to) => {
      const key = JSON.stringify([image, to]);
      const pair = known.get(key) ?? { image, to };
      known.set(key, pair);
      return pair;
    }),
  );
}

/**
 * Asks for each pair once, 16 at a time; no failure is another's. But a registry that was away for as long as one of them
 * could wait is not waited for by the rest: a hundred images would take a hundred times as long to say the same.
 * @param signal when it is aborted, what was not begun is not asked for, and has no outcome of its own: `cancelled`.
 * @returns an outcome a pair, in their order.
 */
export async function askEach<T>(
  pairs: readonly Pair[],
  ask: (pair: Pair) => Promise<T>,
  signal: AbortSignal,
): Promise<Outcome<T>[]> {
  const away = new Map<string, MirrorError>();
  const outcomes = new Map<Pair, Outcome<T>>();

  async function outcomeOf(pair: Pair): Promise<Outcome<T>> {
    if (signal.aborted) return { ...pair, error: new MirrorError('cancelled', 'Its caller has gone.') };
    const hosts = hostsOf(pair);
    const error = hosts && (away.get(hosts.source) ?? away.get(hosts.target));
    if (error) return { ...pair, error };
    try {
      return { ...pair, answer: await ask(pair) };
    } catch (caught) {
      const failure = asMirrorError(caught);
      if (hosts && failure.side && ofHosts.includes(failure.code))
        away.set(
          hosts[failure.side],
          failure.with({
            message: `It was not asked for, since its registry had just failed: ${failure.message}`,
          }),
        );
      return { ...pair, error: failure };
    }
  }

  await inParallel([...new Set(pairs)], parallel, async (pair) => {
    outcomes.set(pair, await outcomeOf(pair));
  });
  return pairs.map((pair) => outcomes.get(pair) as Outcome<T>);
}

/** Undefined for what is no pair of references, which its own answer says. */
function hostsOf({ image, to }: Pair): { source: string; target: string } | undefined {
  try {
    const { source, target } = routeOf(image, to);
    return { source: source.registry, target: target.registry };
  } catch {
    return undefined;
  }
}
