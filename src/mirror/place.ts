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

/** @throws MirrorError, on its side, when there is no login, or the registry lets nobody in. */
export async function enter(
  { registry, pacer }: { registry: Registry; pacer: Pacer },
  keychain: Keychain,
  { registry: host, path }: Repository,
  side: Side,
  signal: AbortSignal,
): Promise<Entry> {
  return onSide(side, async () => {
    const repository = { registry: host, path };
    const credential = await keychain.resolve(repository, signal);
    const lane = pacer.lane(host, credential);
    lane.enter(side);
    return { registry, repository, access: { credential, signal }, side, lane };
  });
}
