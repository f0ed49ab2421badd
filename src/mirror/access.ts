import { MirrorError } from '../core/errors.ts';
import { formatRepository, type Repository } from '../core/reference.ts';
import type { Keychain } from '../keychain/keychain.ts';
import { fingerprint } from '../lib/fingerprint.ts';
import { createMemo } from '../lib/memo.ts';
import type { Registry } from '../registry/registry.ts';
import { signalUntil, untilDeadline } from './retry.ts';
import { onSide } from './side.ts';

/** Milliseconds for which a right that was seen is taken to stand, and how many are kept. */
const trusted = 60_000;
const cacheLimit = 10_000;

export interface PushOptions {
  keychain: Keychain;
  /** The right must be seen, not taken for granted because there is a login. */
  strict: boolean;
  /** Change nothing: a repository that would have to be made first is not made. */
  dryRun: boolean;
}

/**
 * Whether a copy may be pushed, found out before it is accepted.
 * @throws MirrorError on the target's side: `login_required` when it asks for a login and there is none.
 */
export type PushCheck = (target: Repository, options: PushOptions, deadline: number) => Promise<void>;

/**
 * A login alone says nothing about rights, so an upload is opened and cancelled at once. For the installation's
 * own logins the copy finds it out soon enough; without a login, and for callers who bring their own, it is asked.
 */
export function createPushCheck(registry: Registry): PushCheck {
  const seen = createMemo<boolean>(cacheLimit);
  return (target, { keychain, strict, dryRun }, deadline) =>
    onSide('target', async () => {
      const signal = signalUntil(deadline);
      const credential = await untilDeadline(deadline, () => keychain.resolve(target, signal));
      if (credential && !strict) return;
      // A dry run takes for granted what a copy must not.
      const key = fingerprint(credential, formatRepository(target), dryRun);
      await seen.get(key, trusted, () =>
        untilDeadline(deadline, async () => {
          if (!dryRun) await keychain.prepare?.(target, signal);
          const may = await registry.checkPush(target, { credential, signal });
          // One that would be made first is no reason to say no.
          if (!may && !(dryRun && keychain.prepares?.(target)))
            throw new MirrorError(
              'push_refused',
              `${formatRepository(target)} does not exist, and its registry makes no repository by itself.`,
              { remedy: 'Make the repository first, or choose another target.' },
            );
          return may;
        }),
      );
    });
}
