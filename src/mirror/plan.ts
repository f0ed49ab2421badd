import type { Digest } from '../core/digest.ts';
import { MirrorError } from '../core/errors.ts';
import { formatReference, type Reference } from '../core/reference.ts';
import type { Look, Looks } from './look.ts';
import type { Route } from './target.ts';

/** What is wanted and what is there. */
export interface Plan extends Route {
  /** What the source is at the moment: this is what the target must hold. */
  digest: Digest;
  /** Nothing to do: the target holds the digest, and its tag is as it should be. */
  present: boolean;
  /** The tag at the target has to be set or moved at the end. */
  setsTag: boolean;
  /** What the target's tag (or digest) is now. */
  held: Digest | undefined;
  /** When the older of the looks was made that say so (performance.now()). */
  at: number;
}

/**
 * Compares source and target. `present` may rest on looks as old as the configured freshness; before it says
 * that something is missing it looks at the target again, so that a copy that has just ended is seen.
 * @throws MirrorError with its side; `manifest_unknown` when the source has no such image.
 */
export async function planRoute(route: Route, looks: Looks, deadline: number): Promise<Plan> {
  const { source, target } = route;
  const asked = performance.now();
  // Both registries are asked side by side; what the source says counts first, its failures too.
  const ahead = looks.look(pinned(target), 'target', deadline);
  ahead.catch(() => undefined);
  let found = await looks.look(pinned(source), 'source', deadline);
  // What was missing a moment ago, perhaps as a target, may have come.
  if (!found.digest && found.at < asked) found = await looks.lookAgain(pinned(source), 'source', deadline);
  const { digest } = found;
  if (!digest)
    throw new MirrorError('manifest_unknown', `${formatReference(source)} does not exist at its registry.`, {
      side: 'source',
    });
  const compare = async (held: Look, look: Looks['look']) => {
    const tag = await decideTag(route, digest, held, looks, look, deadline);
    const at = Math.min(found.at, held.at, tag.at);
    const present = held.digest === digest && !tag.sets;
    return { ...route, digest, present, setsTag: tag.sets, held: tag.held ?? held.digest, at };
  };
  const plan = await compare(await ahead, looks.look);
  // Looks that were made for this call are as good as new ones.
  if (plan.present || plan.at >= asked) return plan;
  return compare(await looks.lookAgain(pinned(target), 'target', deadline), looks.lookAgain);
}

/** The part of a reference that decides what it is: the digest where there is one, else the tag. */
function pinned(reference: Reference): Reference {
  const { registry, path, digest } = reference;
  return digest ? { registry, path, digest } : reference;
}

/**
 * @param looked what the target's pinned part was found to be; for a plain tag that is the tag.
 *
 * A plain tag at the target follows the source's. With a digest in the reference the tag is an ornament: it is
 * set where it is absent, and moved only if the source's tag still has this digest.
 */
async function decideTag(
  { source, target }: Route,
  digest: Digest,
  looked: Look,
  looks: Looks,
  look: Looks['look'],
  deadline: number,
): Promise<{ sets: boolean; held?: Digest; at: number }> {
  const { registry, path, tag } = target;
  if (!tag) return { sets: false, at: Infinity };
  const held = target.digest ? await look({ registry, path, tag }, 'target', deadline) : looked;
  const stands = { ...(held.digest && { held: held.digest }), at: held.at };
  if (held.digest === digest) return { sets: false, ...stands };
  if (!source.digest || !held.digest) return { sets: true, ...stands };
  const moving: Look = await looks.look(
    { registry: source.registry, path: source.path, tag: source.tag },
    'source',
    deadline,
  );
  return { sets: moving.digest === digest, ...stands, at: Math.min(held.at, moving.at) };
}
