import type { Credential } from '../core/credential.ts';
import type { Repository } from '../core/reference.ts';

/** The port of this room. `undefined` means: not mine, ask the next. */
export interface Keychain {
  /** @throws MirrorError when the keychain has the host but its secret can't be had (helper missing, file unreadable). */
  resolve(repository: Repository, signal: AbortSignal): Promise<Credential | undefined>;
  /**
   * Makes what must be there before a push (on Amazon ECR: the repository). Of those that ask at the same time,
   * one does it.
   * @returns whether the repository is of this keychain's kind.
   */
  prepare?(repository: Repository, signal: AbortSignal): Promise<boolean>;
  /** Whether `prepare` could be for this repository, as far as its name tells. */
  prepares?(repository: Repository): boolean;
}

/** Asks keychains in order; the first that knows the host wins. */
export function chain(...keychains: readonly Keychain[]): Keychain {
  return {
    async resolve(repository, signal) {
      for (const keychain of keychains) {
        const credential = await keychain.resolve(repository, signal);
        if (credential) return credential;
      }
      return undefined;
    },
    async prepare(repository, signal) {
      for (const keychain of keychains) if (await keychain.prepare?.(repository, signal)) return true;
      return false;
    },
    prepares: (repository) => keychains.some((keychain) => keychain.prepares?.(repository) ?? false),
  };
}
