import { hash, randomBytes } from 'node:crypto';

/** A key of this installation, without the key itself. */
export interface Key {
  id: string;
  name: string;
  /** May manage keys and see every mirror. */
  admin: boolean;
  createdAt: Date;
  lastUsedAt?: Date;
  revokedAt?: Date;
}

/** What has to be known of a key to recognize it. */
export interface GoodKey {
  hash: string;
  admin: boolean;
}

/** Where keys are kept; only their hashes are. */
export interface KeyStore {
  /** @param key a new one, unless it is given. */
  create(name: string, admin: boolean, key?: string): Promise<{ record: Key; key: string }>;
  list(): Promise<Key[]>;
  /** Undefined when there is no such key; revoking twice changes nothing. */
  revoke(id: string): Promise<Key | undefined>;
  /** The key with this hash, unless it is revoked. */
  find(hash: string): Promise<Key | undefined>;
  /** All that are not revoked. */
  listGood(): Promise<GoodKey[]>;
  touch(id: string, at: Date): Promise<void>;
}

/** 160 random bits: no hash with a salt is needed for what can't be guessed. */
export function newKey(): string {
  return `dray_${randomBytes(20).toString('hex')}`;
}

export function hashKey(key: string): string {
  return hash('sha256', key, 'hex');
}
