import { hash } from 'node:crypto';

/** How to log in to a registry: a password, or a Docker identity (OAuth2 refresh) token. */
export type Credential =
  { username: string; password: string } | { username?: string; identityToken: string };

/** A name under which things can be kept that depend on a login, without keeping the login. */
export function fingerprint(credential: Credential | undefined): string {
  return credential ? hash('sha256', JSON.stringify(credential), 'hex') : 'anonymous';
}
