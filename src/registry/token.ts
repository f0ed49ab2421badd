import type { Credential } from '../core/credential.ts';
import { fingerprint } from '../lib/fingerprint.ts';
import type { Lease } from '../lib/lease.ts';

/** What a token is asked for (distribution token spec, "Requesting a Token"). */
export interface TokenRequest {
  realm: URL;
  service: string | undefined;
  scope: string | undefined;
  credential: Credential | undefined;
}

/** The name under which its token is kept. */
export function keyOf({ realm, service, scope, credential }: TokenRequest): string {
  return fingerprint(realm.href, service, scope, credential);
}

/** A token is used until this many milliseconds before its end: a request under way must not outlive it. */
const slack = 5000;

/** Tokens live 60 s where the answer does not say (distribution token spec, `expires_in`). */
const defaultLife = 60;

/** Reads the answer of a token server; undefined when it holds no token. */
export function readToken(body: string): Lease<string> | undefined {
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
