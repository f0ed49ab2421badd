import type { Digest } from '../core/digest.ts';
import { asMirrorError, MirrorError, type Side } from '../core/errors.ts';
import { formatReference, type Reference } from '../core/reference.ts';
import type { Keychain } from '../keychain/keychain.ts';
import type { Registry } from '../registry/registry.ts';
import { withinBudget } from './retry.ts';

/** What a registry said of a reference, and when it was asked (performance.now()). */
export interface Look {
  digest: Digest | undefined;
  at: number;
}

export interface Looks {
  /** The digest behind a reference now, or as of a look that is younger than the configured freshness. */
  look(reference: Reference, side: Side): Promise<Look>;
  /** The same, asked after this call. */
  lookAgain(reference: Reference, side: Side): Promise<Look>;
}

export interface LooksOptions {
  registry: Registry;
  keychain: Keychain;
  /** Seconds for which a look is good; 0 asks every time. */
  freshness: number;
  /** Seconds that a look may take, retries included. */
  budget: number;
  /** Whether this registry has answered us before; a port that was never open is an error of the caller's. */
  knowsRegistry: (registry: string) => Promise<boolean>;
}

/** Enough for the images that are asked for within seconds; the oldest go first. */
const cacheLimit = 10_000;

/**
 * Looks at registries: one HEAD answers everyone who asks for the same reference meanwhile, and for
 * `freshness` seconds after. HEAD, since Docker Hub counts a GET of a manifest as a pull.
 */
export function createLooks(options: LooksOptions): Looks {
  const { registry, keychain, freshness, budget } = options;
  const recent = new Map<string, { at: number; look: Promise<Look> }>();
  const heard = new Set<string>();

  async function ask(reference: Reference, side: Side, at: number): Promise<Look> {
    const what = `The ${side} registry ${reference.registry}`;
    try {
      const found = await withinBudget(budget, what, async (signal) => {
        const credential = await keychain.resolve(reference, signal);
        return registry.resolve(reference, { credential, signal });
      });
      heard.add(reference.registry);
      return { digest: found?.digest, at };
    } catch (caught) {
      throw await blame(asMirrorError(caught), reference.registry, side);
    }
  }

  /** Nothing listens there: a registry that we know is down for a moment; one that never was is misspelt. */
  async function blame(error: MirrorError, host: string, side: Side): Promise<MirrorError> {
    if (error.code !== 'refused' || heard.has(host) || (await options.knowsRegistry(host)))
      return error.at(side);
    return new MirrorError('refused', error.message, { side, retryable: false, cause: error });
  }

  function start(reference: Reference, side: Side): Promise<Look> {
    const key = formatReference(reference);
    const at = performance.now();
    const entry = { at, look: ask(reference, side, at) };
    recent.delete(key);
    recent.set(key, entry);
    if (recent.size > cacheLimit) recent.delete(recent.keys().next().value as string);
    entry.look.catch(() => {
      if (recent.get(key) === entry) recent.delete(key);
    });
    return entry.look;
  }

  return {
    look(reference, side) {
      const entry = recent.get(formatReference(reference));
      if (entry && performance.now() - entry.at < freshness * 1000) return entry.look;
      return start(reference, side);
    },
    lookAgain: start,
  };
}
