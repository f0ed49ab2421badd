import type { Side } from '../core/errors.ts';
import type { Repository } from '../core/reference.ts';
import type { Keychain } from '../keychain/keychain.ts';
import type { Access, Registry } from '../registry/registry.ts';
import type { Lane, Pacer } from './pacing.ts';
import { onSide } from './side.ts';

/** One repository, as one login sees it. */
export interface Place {
  registry: Registry;
  repository: Repository;
  access: Access;
  side: Side;
}

/** A place of a copy, with the way in that it shares with all who have the same login. */
export interface Entry extends Place {
  lane: Lane;
}

/** A repository with its login. @throws MirrorError on its side. */
export async function locate(
  registry: Registry,
  keychain: Keychain,
  { registry: host, path }: Repository,
  side: Side,
  signal: AbortSignal,
): Promise<Place> {
  const repository = { registry: host, path };
  const credential = await onSide(side, () => keychain.resolve(repository, signal));
  return { registry, repository, access: { credential, signal }, side };
}

/** The same for a copy. @throws MirrorError `rate_limited` too, while the registry lets nobody in. */
export async function enter(
  { registry, pacer }: { registry: Registry; pacer: Pacer },
  keychain: Keychain,
  repository: Repository,
  side: Side,
  signal: AbortSignal,
): Promise<Entry> {
  const place = await locate(registry, keychain, repository, side, signal);
  const lane = pacer.lane(repository.registry, place.access.credential);
  lane.enter(side);
  return { ...place, lane };
}
