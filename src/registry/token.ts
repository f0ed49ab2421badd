import type { Credential } from '../core/credential.ts';
import { fingerprint } from '../lib/fingerprint.ts';

/** What a token is asked for (distribution token spec, "Requesting a Token"). */
export interface TokenRequest {
  realm: URL;
  service: string | undefined;
  scope: string | undefined;
  credential: Credential | undefined;
}

export interface Token {
  value: string;
  /** performance.now() after which it must not be used. */
  expires: number;
}

/** Tokens that are still good, and those that are being fetched. Kept by a hash of the credential. */
export interface TokenCache {
  /** One fetch for all who ask for the same token at the same time. */
  get(request: TokenRequest, fetch: () => Promise<Token>): Promise<string>;
  /** Forgets a token that was refused; one that another caller is fetching, or has fetched since, stays. */
  drop(request: TokenRequest, refused: string): void;
}

const cacheLimit = 5000;

export function createTokenCache(): TokenCache {
  const tokens = new Map<string, { expires: number; value?: string; token: Promise<Token> }>();
  return {
    async get(request, fetch) {
      const key = keyOf(request);
      let entry = tokens.get(key);
      if (!entry || performance.now() >= entry.expires) {
        const fresh: typeof entry = { expires: Infinity, token: fetch() };
        entry = fresh;
        tokens.set(key, fresh);
        if (tokens.size > cacheLimit) tokens.delete(tokens.keys().next().value as string);
        fresh.token.then(
          (token) => Object.assign(fresh, { expires: token.expires, value: token.value }),
          () => tokens.get(key) === fresh && tokens.delete(key),
        );
      }
      return (await entry.token).value;
    },
    drop(request, refused) {
      const key = keyOf(request);
      if (tokens.get(key)?.value === refused) tokens.delete(key);
    },
  };
}

function keyOf({ realm, service, scope, credential }: TokenRequest): string {
  return fingerprint(realm.href, service, scope, credential);
}

/** A token is used until this many milliseconds before its end: a request under way must not outlive it. */
const slack = 5000;

/** Tokens live 60 s where the answer does not say (distribution token spec, `expires_in`). */
const defaultLife = 60;

/** Reads the answer of a token server; undefined when it holds no token. */
export function readToken(body: string): Token | undefined {
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch {
    return undefined;
  }
  const { token, access_token, expires_in } = (answer ?? {}) as Record<string, unknown>;
  const value = [token, access_token].find((candidate) => typeof candidate === 'string' && candidate !== '');
  // It becomes a header: one line of visible characters, or it is none.
  if (typeof value !== 'string' || !/^[\x21-\x7e]+$/.test(value)) return undefined;
  const life = typeof expires_in === 'number' && expires_in > 0 ? expires_in : defaultLife;
  return { value, expires: performance.now() + Math.max(life * 1000 - slack, 1000) };
}
