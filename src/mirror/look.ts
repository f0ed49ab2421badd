import type { Digest } from '../core/digest.ts';
import type { Credential } from '../core/credential.ts';
import { asMirrorError, MirrorError, type Side } from '../core/errors.ts';
import { formatReference, type Reference } from '../core/reference.ts';
import type { Keychain } from '../keychain/keychain.ts';
import { fingerprint } from '../lib/fingerprint.ts';
import { createMemo } from '../lib/memo.ts';
import type { Registry } from '../registry/registry.ts';
import { signalUntil, untilDeadline } from './retry.ts';
import { onSide } from './side.ts';

/** What a registry said of a reference, and when it was asked (performance.now()). */
export interface Look {
  digest: Digest | undefined;
  at: number;
}

export interface Looks {
  /**
   * The digest behind a reference now, or as of a look that is younger than the configured freshness. A registry
   * that is down for a moment is asked again until the deadline (performance.now()).
   * @throws MirrorError with its side.
   */
  look(reference: Reference, side: Side, deadline: number): Promise<Look>;
  /** The same, asked after this call. */
  lookAgain(reference: Reference, side: Side, deadline: number): Promise<Look>;
}

/** Looks with anybody's logins; what one of them saw counts for all who have the same login. */
export interface Observatory {
  as(keychain: Keychain): Looks;
}

export interface LooksOptions {
  registry: Registry;
  /** Seconds for which a look is good; 0 asks every time. */
  freshness: number;
  /** Whether this registry has answered us before; a port that was never open is an error of the caller's. */
  knowsRegistry: (registry: string) => Promise<boolean>;
}

/** Milliseconds for which a registry that was never heard of may refuse connections: it may just be starting. */
const patience = 2000;

/** Enough for the images that are asked for within seconds; the oldest go first. */
const cacheLimit = 10_000;

/**
 * Looks at registries: one HEAD answers everyone who asks for the same reference meanwhile, and for
 * `freshness` seconds after. HEAD, since Docker Hub counts a GET of a manifest as a pull.
 */
export function createObservatory(options: LooksOptions): Observatory {
  const { registry, freshness } = options;
  const recent = createMemo<Look>(cacheLimit);
  const heard = new Set<string>();

  async function ask(
    reference: Reference,
    credential: Credential | undefined,
    side: Side,
    deadline: number,
  ): Promise<Look> {
    const at = performance.now();
    const host = reference.registry;
    const signal = signalUntil(deadline);
    let last: MirrorError | undefined;
    try {
      return await untilDeadline(deadline, async () => {
        try {
          const found = await registry.resolve(reference, { credential, signal });
          if (heard.size >= cacheLimit) heard.clear();
          heard.add(host);
          return { digest: found?.digest, at };
        } catch (error) {
          const named = await blame(asMirrorError(error), host, performance.now() - at);
          // A try that our deadline cuts off says nothing about the registry; the one before it does.
          if (!signal.aborted) last = named;
          throw named;
        }
      });
    } catch (caught) {
      const error = (signal.aborted && last) || asMirrorError(caught);
      if (!signal.aborted || last) throw (await blame(error, host, Infinity)).at(side);
      const seconds = Math.ceil((deadline - at) / 1000);
      throw new MirrorError('timeout', `${host} did not answer within ${seconds} s.`, { side, cause: error });
    }
  }

  /** Nothing listens there: a registry that we know is down for a moment; one that never was is misspelt. */
  async function blame(error: MirrorError, host: string, elapsed: number): Promise<MirrorError> {
    if (error.code !== 'refused' || elapsed < patience || heard.has(host)) return error;
    if (await options.knowsRegistry(host)) return error;
    return new MirrorError('refused', error.message, { retryable: false, cause: error });
  }

  return {
    as(keychain) {
      /** The login of the moment, and the name under which its looks are kept. */
      async function enter(reference: Reference, deadline: number) {
        const credential = await untilDeadline(deadline, () =>
          keychain.resolve(reference, signalUntil(deadline)),
        );
        return { credential, key: fingerprint(credential, formatReference(reference)) };
      }
      return {
        async look(reference, side, deadline) {
          const { credential, key } = await onSide(side, () => enter(reference, deadline));
          return recent.get(key, freshness * 1000, () => ask(reference, credential, side, deadline));
        },
        async lookAgain(reference, side, deadline) {
          const { credential, key } = await onSide(side, () => enter(reference, deadline));
          return recent.renew(key, () => ask(reference, credential, side, deadline));
        },
      };
    },
  };
}
