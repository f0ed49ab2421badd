/** How to log in to a registry: a password, or a Docker identity (OAuth2 refresh) token. */
export type Credential =
  { username: string; password: string } | { username?: string; identityToken: string };
