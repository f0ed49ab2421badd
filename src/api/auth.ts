import { timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import { type Grant, normalizeEndpoint } from '../core/grant.ts';
import { hashKey, type Key, type KeyStore } from '../core/key.ts';
import type { Caller } from '../mirror/caller.ts';
import type { Keyring } from './keyring.ts';
import type { Limits } from './limits.ts';

/** Who somebody says to be. */
export interface Claims {
  /** A key of this service, or an access token of Seqera Platform. */
  token?: string | null | undefined;
  refreshToken?: string | null | undefined;
  /** Which Seqera Platform; absent: the first that is configured. */
  endpoint?: string | null | undefined;
  workspaceId?: number | null | undefined;
  workflowId?: string | null | undefined;
}

/** What this room needs of Seqera Platform: tells the tenant, or refuses as {@link Authenticator} does. */
export type Identify = (grant: Grant) => Promise<string>;

/** Tells who asks. */
export interface Authenticator {
  /**
   * @throws MirrorError `unauthenticated`; `too_many_requests` when the caller's calls or failed logins are over a limit;
   * `unpaired_endpoint`, `forbidden` (not in that workspace) and `platform_unavailable` of a caller of Seqera Platform.
   */
  byClaims(request: FastifyRequest, claims: Claims): Promise<Caller>;
  /** By `Authorization: Bearer`, with the headers `Platform-Endpoint` and `Platform-Workspace` where they count. */
  byHeader(request: FastifyRequest): Promise<Caller>;
  /** The same on a route that is open to everybody: not counted as the caller's call, undefined where it is refused. */
  ofVisitor(request: FastifyRequest): Promise<Caller | undefined>;
  /** Whether a caller who was let in by header would be turned away now; not counted as a call. */
  isRefused(request: FastifyRequest): Promise<boolean>;
  /** By header, for administrators only. @throws MirrorError `forbidden`. */
  adminByHeader(request: FastifyRequest): Promise<Caller>;
  /** Forgets what it knows of keys: one has been made or revoked. */
  forget(): void;
}

export interface AuthenticatorOptions {
  keys: KeyStore;
  /** DRAY_API_KEY: an administrator's, accepted as is. */
  adminKey: string | undefined;
  /** Endpoints that may be paired; the first is the default. */
  endpoints: readonly string[];
  identify: Identify;
  keyring: Keyring;
  limits: Limits;
  onError: (error: unknown) => void;
  /** Hears that a key has been made or revoked. */
  onForget: () => void;
}

/** Milliseconds for which a key is taken to be good without a look at the database. */
const trusted = 5000;
/** Milliseconds between two notes of a key's last use. */
const touchEvery = 60_000;
const cacheLimit = 10_000;
/** Characters of a token; real ones have some hundreds. */
const tokenLimit = 8192;

export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const { keys, adminKey, endpoints, identify, keyring, limits, onError } = options;
  const adminHash = adminKey === undefined ? undefined : Buffer.from(hashKey(adminKey));
  const known = new Map<string, { caller: Caller & { keyId: string }; until: number }>();
  const touched = new Map<string, number>();
  // What was asked before a key was revoked must not be believed after.
  let epoch = 0;

  function noteUse(id: string): void {
    const now = performance.now();
    if (now - (touched.get(id) ?? -Infinity) < touchEvery) return;
    touched.set(id, now);
    // A late note of a key's use is no reason to refuse its caller.
    keys.touch(id, new Date()).catch(onError);
  }

  async function byKey(request: FastifyRequest, hashed: string): Promise<Caller> {
    const now = performance.now();
    let entry = known.get(hashed);
    if (!entry || entry.until < now) {
      const asked = epoch;
      const login = { hash: hashed, scope: `key ${asked}` };
      const { id: keyId, admin } = await limits.login(request, login, () => find(hashed));
      entry = { caller: { keyId, tenant: `key:${keyId}`, admin }, until: now + trusted };
      if (known.size >= cacheLimit) known.clear();
      if (asked === epoch) known.set(hashed, entry);
    }
    noteUse(entry.caller.keyId);
    return entry.caller;
  }

  async function find(hashed: string): Promise<Key> {
    const record = await keys.find(hashed);
    if (record) return record;
    throw new MirrorError(
      'unauthenticated',
      'The access token is no key of this service, or it was revoked.',
    );
  }

  async function byGrant(request: FastifyRequest, hashed: string, claims: Claims): Promise<Caller> {
    const { refreshToken, workspaceId, workflowId } = claims;
    const accessToken = claims.token ?? '';
    const named = claims.endpoint ? normalizeEndpoint(claims.endpoint) : endpoints[0];
    const others = endpoints.length > 0 ? ` It works with ${endpoints.join(', ')}.` : '';
    // As we write it: what a caller wrote may have a login in it, and messages are logged.
    if (!named || !endpoints.includes(named))
      throw new MirrorError(
        'unpaired_endpoint',
        `The access token is no key of this service, and the Seqera Platform ${named ? `at ${named.slice(0, 200)} ` : ''}is not paired with it.${others}`,
      );
    const grant: Grant = {
      endpoint: named,
      accessToken,
      ...(workspaceId && { workspaceId }),
      ...(workflowId && { workflowId }),
      ...(refreshToken && { refreshToken }),
    };
    const renewal = refreshToken ? hashKey(refreshToken) : '';
    const login = { hash: hashed, scope: [named, workspaceId, workflowId, renewal].join(' ') };
    const tenant = await limits.login(request, login, async () => {
      if (!isToken(accessToken) || !isToken(refreshToken ?? ''))
        throw new MirrorError('unauthenticated', 'This is no access token.');
      return identify(grant);
    });
    return { tenant, admin: false, grant };
  }

  async function resolve(request: FastifyRequest, hashed: string, claims: Claims): Promise<Caller> {
    if (adminHash && timingSafeEqual(adminHash, Buffer.from(hashed)))
      return { tenant: 'key:DRAY_API_KEY', admin: true };
    const foreign = !claims.token?.startsWith('dray_') && (endpoints.length > 0 || claims.endpoint);
    return foreign ? byGrant(request, hashed, claims) : byKey(request, hashed);
  }

  async function byClaims(request: FastifyRequest, claims: Claims): Promise<Caller> {
    if (!claims.token) throw new MirrorError('unauthenticated', 'No access token was sent.');
    const hashed = hashKey(claims.token);
    const caller = await resolve(request, hashed, claims);
    limits.admit(request, hashed, caller.admin);
    return caller;
  }

  const byHeader = async (request: FastifyRequest) => byClaims(request, claimsOf(request));
  return {
    byClaims,
    byHeader,
    async ofVisitor(request) {
      const claims = claimsOf(request);
      if (!claims.token) return undefined;
      return resolve(request, hashKey(claims.token), claims).catch(() => undefined);
    },
    async isRefused(request) {
      try {
        const claims = claimsOf(request);
        await resolve(request, hashKey(claims.token ?? ''), claims);
        return false;
      } catch (error) {
        // What passes by itself, such as a database that is away, says nothing about the caller.
        return !asMirrorError(error).retryable;
      }
    },
    async adminByHeader(request) {
      const caller = await byHeader(request);
      if (!caller.admin) throw new MirrorError('forbidden', 'Only an administrator may do this.');
      return caller;
    },
    forget() {
      epoch++;
      known.clear();
      keyring.drop();
      options.onForget();
    },
  };
}

function isToken(text: string): boolean {
  return /^[\x21-\x7e]*$/.test(text) && text.length <= tokenLimit;
}

/** The token of `Authorization: Bearer`, if there is one (RFC 6750, section 2.1). */
export function bearerOf(request: FastifyRequest): string | undefined {
  return /^bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
}

function claimsOf(request: FastifyRequest): Claims {
  const { 'platform-endpoint': endpoint, 'platform-workspace': workspace } = request.headers;
  if (workspace && !/^[1-9][0-9]{0,14}$/.test(String(workspace)))
    throw new MirrorError('invalid_request', 'The header Platform-Workspace is no workspace id.');
  return {
    token: bearerOf(request),
    ...(endpoint !== undefined && { endpoint: String(endpoint) }),
    ...(workspace && { workspaceId: Number(workspace) }),
  };
}
