import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { Grant } from '../core/grant.ts';
import type { TokenStore } from '../db/platform-tokens.ts';
import { fingerprint } from '../lib/fingerprint.ts';
import { createMemo } from '../lib/memo.ts';
import type { Sealer } from '../lib/seal.ts';
import { classifyStatus } from './answers.ts';
import type { Channel } from './channel.ts';

/** Access tokens that are good now, in the place of those that callers came with and that have expired. */
export interface PlatformTokens {
  /** The access token to send for a grant: the refreshed one where there is one. */
  present(grant: Grant): Promise<string>;
  /**
   * A newer access token, when `used` was refused: one that somebody has refreshed meanwhile, else a new one. One
   * refresh answers everybody who asks at once.
   * @returns undefined when there is none to be had.
   * @throws MirrorError `platform_unavailable`, or of the database.
   */
  renew(grant: Grant, used: string): Promise<string | undefined>;
  /** At start: seals anew what is sealed with an old master key, and deletes what nobody has used for long. */
  reseal(): Promise<void>;
}

export interface TokensOptions {
  channel: Pick<Channel, 'request'>;
  store: TokenStore;
  sealer: Sealer;
  onError: (error: unknown) => void;
  /** Milliseconds since 1970. */
  now?: () => number;
}

const memoLimit = 10_000;
/** Milliseconds for which tokens are used without a look at what other processes have refreshed. */
const trusted = 60_000;
/** Milliseconds for which a refresh, or its refusal, answers those who come later. */
const answersFor = 10_000;
/** Milliseconds. Whoever won the race for a refresh has yet to write what it got. */
const loserWaits = [0, 250];
/** Milliseconds for which refreshed tokens are kept; the longest runs end before. */
const life = 30 * 24 * 3600 * 1000;

const tokens = z.object({ accessToken: z.string(), refreshToken: z.string() });
type Tokens = z.infer<typeof tokens>;

/**
 * One name for what a caller came with. Of both tokens: an access token alone, which may have leaked and expired, must
 * not bring its finder what the owner's refresh token has been turned into.
 */
export function hashGrant({ endpoint, accessToken, refreshToken }: Grant): string {
  return fingerprint(endpoint, accessToken, refreshToken);
}

export function createTokens({
  channel,
  store,
  sealer,
  onError,
  now = Date.now,
}: TokensOptions): PlatformTokens {
  const known = createMemo<Tokens | undefined>(memoLimit);
  const renewals = createMemo<string | undefined>(memoLimit);

  async function load(id: string): Promise<Tokens | undefined> {
    const sealed = await store.get(id);
    const opened = sealed === undefined ? undefined : sealer.open(sealed, purposeOf(id));
    // What no master key opens is as good as not there: the caller's own refresh token is tried.
    return opened === undefined ? undefined : tokens.parse(JSON.parse(opened));
  }

  async function save(id: string, fresh: Tokens): Promise<void> {
    try {
      await store.put(id, sealer.seal(JSON.stringify(fresh), purposeOf(id)), new Date(now()));
      await store.sweep(new Date(now() - life));
    } catch (error) {
      // They are good all the same; only others will not know of them.
      onError(error);
    }
  }

  function use(id: string, newer: Tokens): string {
    void known.renew(id, () => Promise.resolve(newer));
    return newer.accessToken;
  }

  async function refresh(grant: Grant, refreshToken: string): Promise<Tokens | undefined> {
    const { endpoint } = grant;
    const answer = await channel.request(
      endpoint,
      {
        method: 'POST',
        uri: `${endpoint}/oauth/access_token`,
        auth: null,
        headers: { 'Content-Type': ['application/x-www-form-urlencoded'] },
        body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refreshToken }).toString(),
      },
      // Waiting callers share it: one that gives up must not take it from the others. The channel has a limit.
      new AbortController().signal,
    );
    const { status, headers } = answer;
    if (status >= 500 || status === 408 || status === 429)
      throw classifyStatus(answer, grant, 'refreshing an access token');
    return status >= 200 && status < 300
      ? readTokens(headers.get('set-cookie') ?? [], refreshToken)
      : undefined;
  }

  async function renew(id: string, grant: Grant, own: string, used: string): Promise<string | undefined> {
    const others = await load(id);
    if (others && others.accessToken !== used) return use(id, others);
    const fresh = await refresh(grant, others?.refreshToken ?? own);
    if (fresh) {
      await save(id, fresh);
      return use(id, fresh);
    }
    for (const wait of loserWaits) {
      await sleep(wait);
      const winners = await load(id);
      if (winners && winners.accessToken !== used) return use(id, winners);
    }
    return undefined;
  }

  return {
    async present(grant) {
      if (grant.refreshToken === undefined) return grant.accessToken;
      const id = hashGrant(grant);
      // The token that the caller came with may do, even without the database.
      const newer = await known.get(id, trusted, () => load(id)).catch(() => undefined);
      return newer?.accessToken ?? grant.accessToken;
    },
    async renew(grant, used) {
      const { refreshToken } = grant;
      if (refreshToken === undefined) return undefined;
      const id = hashGrant(grant);
      return renewals.get(fingerprint(id, used), answersFor, () => renew(id, grant, refreshToken, used));
    },
    async reseal() {
      await store.sweep(new Date(now() - life));
      for (const { id, sealed } of await store.list()) {
        const anew = sealer.reseal(sealed, purposeOf(id));
        if (anew !== undefined) await store.reseal(id, sealed, anew);
      }
    },
  };
}

/** Characters; a JWT has one or two thousand. */
export const tokenLimit = 16 * 1024;

/**
 * Reads the cookies of a refresh (RFC 6265, section 4.1.1): `JWT`, and `JWT_REFRESH_TOKEN` where it changes. Their
 * attributes are for browsers.
 * @returns undefined without a usable access token.
 */
export function readTokens(cookies: readonly string[], oldRefreshToken: string): Tokens | undefined {
  const values = new Map<string, string>();
  for (const cookie of cookies) {
    const [, name = '', value = ''] =
      /^\s*([^=;\s]+)\s*=\s*"?([\x21\x23-\x3a\x3c-\x7e]+)"?\s*(?:;|$)/.exec(cookie) ?? [];
    if (value.length > 0 && value.length <= tokenLimit) values.set(name, value);
  }
  const accessToken = values.get('JWT');
  const refreshToken = values.get('JWT_REFRESH_TOKEN') ?? oldRefreshToken;
  return accessToken === undefined ? undefined : { accessToken, refreshToken };
}

function purposeOf(id: string): string {
  return `tokens:${id}`;
}
