import { timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { MirrorError } from '../core/errors.ts';
import { hashKey, type Key, type KeyStore } from '../core/key.ts';
import type { Caller } from '../mirror/service.ts';
import type { Keyring } from './keyring.ts';
import type { Limits } from './limits.ts';

/** Tells who asks. */
export interface Authenticator {
  /** @throws MirrorError `unauthenticated`; `too_many_requests` when the caller or failed logins are over a limit. */
  byKey(key: string | null | undefined, request: FastifyRequest): Promise<Caller>;
  /** The same, not counted as the caller's call: for routes that are open to everybody. */
  identify(key: string | null | undefined, request: FastifyRequest): Promise<Caller>;
  /** By `Authorization: Bearer`. */
  byHeader(request: FastifyRequest): Promise<Caller>;
  /** The same, for administrators only. @throws MirrorError `forbidden`. */
  adminByHeader(request: FastifyRequest): Promise<Caller>;
  /** Forgets what it knows of keys: one has been made or revoked. */
  forget(): void;
}

/** Milliseconds for which a key is taken to be good without a look at the database. */
const trusted = 5000;
/** Milliseconds between two notes of a key's last use. */
const touchEvery = 60_000;
const cacheLimit = 10_000;

/**
 * @param adminKey DRAY_API_KEY: an administrator's, accepted as is.
 */
export function createAuthenticator(
  keys: KeyStore,
  adminKey: string | undefined,
  keyring: Keyring,
  limits: Limits,
  onError: (error: unknown) => void,
): Authenticator {
  const adminHash = adminKey === undefined ? undefined : Buffer.from(hashKey(adminKey));
  const known = new Map<string, { caller: Caller; until: number }>();
  const touched = new Map<string, number>();
  // What was asked before a key was revoked must not be believed after.
  let epoch = 0;

  function noteUse(id: string): void {
    const now = Date.now();
    if (now - (touched.get(id) ?? 0) < touchEvery) return;
    touched.set(id, now);
    // A late note of a key's use is no reason to refuse its caller.
    keys.touch(id, new Date(now)).catch(onError);
  }

  async function identify(key: string | null | undefined, request: FastifyRequest): Promise<Caller> {
    if (!key) throw new MirrorError('unauthenticated', 'No access token was sent.');
    const hash = hashKey(key);
    if (adminHash && timingSafeEqual(adminHash, Buffer.from(hash)))
      return { keyId: 'DRAY_API_KEY', admin: true };
    const now = performance.now();
    let entry = known.get(hash);
    if (!entry || entry.until < now) {
      const [asked, lately] = [epoch, entry !== undefined];
      const login = { hash, scope: String(asked), known: lately };
      const record = await limits.login(request, login, () => find(hash));
      entry = { caller: { keyId: record.id, admin: record.admin }, until: now + trusted };
      if (known.size >= cacheLimit) known.clear();
      if (asked === epoch) known.set(hash, entry);
    }
    noteUse(entry.caller.keyId);
    return entry.caller;
  }

  async function find(hash: string): Promise<Key> {
    const record = await keys.find(hash);
    if (record) return record;
    known.delete(hash);
    throw new MirrorError(
      'unauthenticated',
      'The access token is no key of this service, or it was revoked.',
    );
  }

  async function byKey(key: string | null | undefined, request: FastifyRequest): Promise<Caller> {
    const caller = await identify(key, request);
    limits.admit(request, caller.keyId, caller.admin);
    return caller;
  }

  const byHeader = (request: FastifyRequest) => byKey(bearerOf(request), request);
  return {
    byKey,
    identify,
    byHeader,
    async adminByHeader(request) {
      const caller = await byHeader(request);
      if (!caller.admin) throw new MirrorError('forbidden', 'Only an administrator may do this.');
      return caller;
    },
    forget() {
      epoch++;
      known.clear();
      keyring.drop();
    },
  };
}

/** The token of `Authorization: Bearer`, if there is one (RFC 6750, section 2.1). */
export function bearerOf(request: FastifyRequest): string | undefined {
  return /^bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
}
