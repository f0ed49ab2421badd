import type { Credential } from '../core/credential.ts';
import { asMirrorError, MirrorError, type Side } from '../core/errors.ts';
import { fingerprint } from '../lib/fingerprint.ts';
import type { Budget } from '../registry/rate-limit.ts';

/** Seconds. */
export interface PacingSettings {
  /** Where a registry names no time: the first pause; each one after is twice as long. */
  firstPause: number;
  longestPause: number;
}

/** One registry with one login: what all who use both share. */
export interface Lane {
  /** @throws MirrorError `rate_limited` with the seconds left, while the registry lets nobody in. */
  enter(side: Side): void;
  /** It said 429. @returns the same failure, with the seconds after which to come back. */
  throttle(error: MirrorError): MirrorError;
  /** A copy went through: the next pause is a short one again. */
  passed(): void;
  /** Whether so little may be read that a copy should not spend any of it on counting. */
  isScarce(): boolean;
}

/** Keeps everybody away from a registry that said when to come back, whoever was told so. */
export interface Pacer {
  lane(registry: string, credential: Credential | undefined): Lane;
  /** What a registry has told of how much may still be asked with this login; undefined: nothing. */
  known(registry: string, credential: Credential | undefined): Known | undefined;
  /** Hears of every answer of a registry. */
  observe(registry: string, credential: Credential | undefined, seen: Seen): void;
}

export interface Known {
  remaining?: number;
  limit?: number;
  /** It lets nobody in before that. */
  resumesAt?: Date;
}

export interface Seen {
  budget?: Budget;
  /** It was a 429; seconds where it named them. */
  refused?: { retryAfter?: number };
}

interface State {
  /** performance.now(): a clock that is set must not change how long we wait. */
  until: number;
  /** It named no time: this one is our own guess, and gives way to one that it names. */
  guessed?: boolean;
  pauses: number;
  /** Closed since nothing was left of the budget: it is open as soon as something is. */
  spent?: boolean;
  remaining?: number;
  limit?: number;
}

/** More registries and logins than are in use at once; those that were not used for the longest time go first. */
const laneLimit = 10_000;
/** What may be asked where a registry tells only how much is left: Docker Hub's of an address without a login. */
const usualLimit = 100;
/** Seconds: whoever names a later time is looked at again meanwhile. */
const longestNamed = 86_400;

export function createPacer({ firstPause, longestPause }: PacingSettings): Pacer {
  const states = new Map<string, State>();

  function find(registry: string, credential: Credential | undefined): State {
    const key = fingerprint(credential, registry);
    const state = states.get(key) ?? { until: 0, pauses: 0 };
    states.delete(key);
    states.set(key, state);
    if (states.size > laneLimit) states.delete(states.keys().next().value as string);
    return state;
  }

  /**
   * @param seconds what the registry named; absent: a growing pause. So is "now", or a time that is over: who is refused
   * again at once would ask without an end, and no try would count.
   */
  function close(state: State, seconds = 0): void {
    const now = performance.now();
    if (seconds > 0) {
      const named = now + Math.min(seconds, longestNamed) * 1000;
      state.until = state.guessed ? named : Math.max(state.until, named);
      state.guessed = false;
      return;
    }
    // Of many who are refused at once, the first has said it.
    if (state.until > now) return;
    const pause = Math.min(longestPause, firstPause * 2 ** Math.min(state.pauses++, 30));
    state.until = now + pause * (1 + Math.random() / 10) * 1000;
    state.guessed = true;
  }

  const left = ({ until }: State) => Math.ceil(Math.max(0, until - performance.now()) / 1000);

  return {
    observe(registry, credential, { budget, refused }) {
      if (!budget && !refused) return;
      const state = find(registry, credential);
      if (budget?.remaining !== undefined) state.remaining = budget.remaining;
      if (budget?.limit !== undefined) state.limit = budget.limit;
      if (refused) {
        close(state, refused.retryAfter ?? budget?.reset);
        // What was on its way before must not open it again.
        state.spent = false;
      } else if (budget?.remaining === 0) {
        close(state, budget.reset);
        state.spent = true;
      } else if (state.spent) {
        state.spent = false;
        state.until = 0;
      }
    },
    known(registry, credential) {
      const state = find(registry, credential);
      const { remaining, limit } = state;
      const seconds = left(state);
      if (remaining === undefined && limit === undefined && seconds === 0) return undefined;
      return {
        ...(remaining !== undefined && { remaining }),
        ...(limit !== undefined && { limit }),
        ...(seconds > 0 && { resumesAt: new Date(Date.now() + seconds * 1000) }),
      };
    },
    lane(registry, credential) {
      const state = find(registry, credential);
      return {
        enter(side) {
          const seconds = left(state);
          if (seconds === 0) return;
          throw new MirrorError('rate_limited', `${registry} lets nobody in for the moment.`, {
            side,
            retryAfter: seconds,
          });
        },
        throttle(caught) {
          const error = asMirrorError(caught);
          close(state, error.retryAfter);
          return error.with({ retryAfter: left(state) });
        },
        passed() {
          if (left(state) === 0) state.pauses = 0;
        },
        isScarce: () => state.remaining !== undefined && state.remaining < (state.limit ?? usualLimit) / 2,
      };
    },
  };
}
