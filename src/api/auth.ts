import { timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { MirrorError } from '../core/errors.ts';
import { type Grant, normalizeEndpoint } from '../core/grant.ts';
import { hashKey, type KeyStore } from '../core/key.ts';
import type { Caller } from '../mirror/caller.ts';

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
   * @throws MirrorError `unauthenticated`; `unpaired_endpoint`, `forbidden` (not in that workspace) and
   * `platform_unavailable` of a caller of Seqera Platform.
   */
  byClaims(claims: Claims): Promise<Caller>;
  /** By `Authorization: Bearer`, with the headers `Platform-Endpoint` and `Platform-Workspace` where they count. */
  byHeader(request: FastifyRequest): Promise<Caller>;
  /** The same, for administrators only. @throws MirrorError `forbidden`. */
  adminByHeader(request: FastifyRequest): Promise<Caller>;
  /** Forgets what it knows of keys: one has been revoked. */
  forget(): void;
}

export interface AuthenticatorOptions {
  keys: KeyStore;
  /** DRAY_API_KEY: an administrator's, accepted as is. */
  adminKey: string | undefined;
  /** Endpoints that may be paired; the first is the default. */
  endpoints: readonly string[];
  identify: Identify;
  onError: (error: unknown) => void;
}

/** Milliseconds for which a key is taken to be good without a look at the database. */
const trusted = 5000;
/** Milliseconds between two notes of a key's last use. */
const touchEvery = 60_000;
const cacheLimit = 10_000;
/** Characters of a token; real ones have some hundreds. */
const tokenLimit = 8192;

export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const { keys, adminKey, endpoints, identify, onError } = options;
  const adminHash = adminKey === undefined ? undefined : Buffer.from(hashKey(adminKey));
  const known = new Map<string, { caller: Caller & { keyId: string }; until: number }>();
  const touched = new Map<string, number>();

  function noteUse(id: string): void {
    const now = Date.now();
    if (now - (touched.get(id) ?? 0) < touchEvery) return;
    touched.set(id, now);
    // A late note of a key's use is no reason to refuse its caller.
    keys.touch(id, new Date(now)).catch(onError);
  }

  async function byKey(token: string, hashed: string): Promise<Caller> {
    const now = performance.now();
    let entry = known.get(hashed);
    if (!entry || entry.until < now) {
      const record = await keys.find(hashed);
      if (!record)
        throw new MirrorError(
          'unauthenticated',
          'The access token is no key of this service, or it was revoked.',
        );
      const { id: keyId, admin } = record;
      entry = { caller: { keyId, tenant: `key:${keyId}`, admin }, until: now + trusted };
      if (known.size >= cacheLimit) known.clear();
      known.set(hashed, entry);
    }
    noteUse(entry.caller.keyId);
    return entry.caller;
  }

  async function byGrant(accessToken: string, claims: Claims): Promise<Caller> {
    const { refreshToken, workspaceId, workflowId } = claims;
    const named = claims.endpoint ? normalizeEndpoint(claims.endpoint) : endpoints[0];
    if (!named || !endpoints.includes(named))
      throw new MirrorError(
        'unpaired_endpoint',
        `The access token is no key of this service, and the Seqera Platform at ${(claims.endpoint ?? '').slice(0, 200)} is not paired with it.`,
      );
    const grant: Grant = {
      endpoint: named,
      accessToken,
      ...(workspaceId && { workspaceId }),
      ...(workflowId && { workflowId }),
      ...(refreshToken && { refreshToken }),
    };
    return { tenant: await identify(grant), admin: false, grant };
  }

  async function byClaims(claims: Claims): Promise<Caller> {
    const { token } = claims;
    if (!token) throw new MirrorError('unauthenticated', 'No access token was sent.');
    const hashed = hashKey(token);
    if (adminHash && timingSafeEqual(adminHash, Buffer.from(hashed)))
      return { tenant: 'key:DRAY_API_KEY', admin: true };
    const foreign = !token.startsWith('dray_') && (endpoints.length > 0 || claims.endpoint);
    if (!foreign) return byKey(token, hashed);
    if (
      ![token, claims.refreshToken ?? ''].every(
        (each) => /^[\x21-\x7e]*$/.test(each) && each.length <= tokenLimit,
      )
    )
      throw new MirrorError('unauthenticated', 'This is no access token.');
    return byGrant(token, claims);
  }

  const byHeader = (request: FastifyRequest) => byClaims(claimsOf(request));
  return {
    byClaims,
    byHeader,
    async adminByHeader(request) {
      const caller = await byHeader(request);
      if (!caller.admin) throw new MirrorError('forbidden', 'Only an administrator may do this.');
      return caller;
    },
    forget: () => known.clear(),
  };
}

/** The token of `Authorization: Bearer`, if there is one (RFC 6750, section 2.1). */
export function bearerOf(request: FastifyRequest): string | undefined {
  return /^bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
}

function claimsOf(request: FastifyRequest): Claims {
  const { 'platform-endpoint': endpoint, 'platform-workspace': workspace } = request.headers;
  if (workspace !== undefined && !/^[1-9][0-9]{0,14}$/.test(String(workspace)))
    throw new MirrorError('invalid_request', 'The header Platform-Workspace is no workspace id.');
  return {
    token: bearerOf(request),
    ...(endpoint !== undefined && { endpoint: String(endpoint) }),
    ...(workspace !== undefined && { workspaceId: Number(workspace) }),
  };
}
