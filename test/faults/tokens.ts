import { randomBytes } from 'node:crypto';
import { newSecret, registerSecret } from '../fixtures/secrets.ts';
import type { Call } from './calls.ts';

export interface TokenOptions {
  /** How many calls a token is good for, whatever was said of its life. */
  uses: number;
  /** Milliseconds that it is good for, whatever was said. */
  ms: number;
}

/** A registry's login and its tokens, which may end before their time. */
export interface TokenGate {
  username: string;
  password: string;
  /** How many calls came with a token that had ended. */
  expired(): number;
  /** From now on tokens live as long as was said. */
  mend(): void;
  /** Whether a call may pass; else the challenge (distribution token spec) that it is answered with. */
  check(call: Call, authorization: string | undefined): { challenge?: string };
  /** Answers the token endpoint. */
  grant(call: Call, authorization: string | undefined): { status: number; body: string };
}

interface Token {
  scopes: string[];
  uses: number;
  ends: number;
}

/** @param host of the proxy that it is a part of, which is its token server too. */
export function createTokenGate(host: () => string, options: TokenOptions): TokenGate {
  const username = 'robot';
  const password = newSecret('password of a registry behind the fault proxy');
  const basic = Buffer.from(`${username}:${password}`).toString('base64');
  const tokens = new Map<string, Token>();
  let { uses, ms } = options;
  let expired = 0;

  return {
    username,
    password,
    expired: () => expired,
    mend() {
      uses = ms = Infinity;
      // Those that were given out are mended too: who holds one has been told that it lives.
      for (const token of tokens.values()) Object.assign(token, { uses, ends: ms });
    },
    check(call, authorization = '') {
      const action = ['GET', 'HEAD'].includes(call.method) ? 'pull' : 'push';
      const scope = call.repository === undefined ? '' : `repository:${call.repository}:`;
      const wanted = scope && `${scope}${action === 'pull' ? 'pull' : 'pull,push'}`;
      const challenge = `Bearer realm="http://${host()}/token",service="faults"${wanted && `,scope="${wanted}"`}`;
      const token = tokens.get(authorization.replace(/^Bearer /i, ''));
      if (!token) return { challenge };
      const may = token.scopes.some((one) => one.startsWith(scope) && one.includes(action));
      if (scope && !may) return { challenge: `${challenge},error="insufficient_scope"` };
      if (token.uses-- > 0 && performance.now() < token.ends) return {};
      expired++;
      return { challenge: `${challenge},error="invalid_token"` };
    },
    grant({ path }, authorization = '') {
      if (authorization !== `Basic ${basic}`)
        return { status: 401, body: '{"details":"incorrect username or password"}' };
      const scopes = new URL(path, 'http://x').searchParams.getAll('scope').flatMap((one) => one.split(' '));
      const value = registerSecret(`tk-${randomBytes(24).toString('hex')}`, 'token of the fault proxy');
      tokens.set(value, { scopes, uses, ends: performance.now() + ms });
      return { status: 200, body: JSON.stringify({ token: value, expires_in: 300 }) };
    },
  };
}
