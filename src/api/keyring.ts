import { type GoodKey, hashKey } from '../core/key.ts';
import { createMemo } from '../lib/memo.ts';

/**
 * Who may come in although a limit is met: asked under attack, so it costs no query of its own.
 */
export interface Keyring {
  /** The key with this hash; undefined when there is none that is good, as far as known. */
  find(hash: string): Promise<{ admin: boolean } | undefined>;
  /** A key was made or revoked. */
  drop(): void;
}

/** Milliseconds for which a list of the keys is used. Other instances may have made one meanwhile. */
const listedFor = 1000;

/** @param adminKey DRAY_API_KEY. */
export function createKeyring(list: () => Promise<GoodKey[]>, adminKey: string | undefined): Keyring {
  const memo = createMemo<Map<string, { admin: boolean }>>(1);
  const adminHash = adminKey === undefined ? undefined : hashKey(adminKey);
  let last = new Map<string, { admin: boolean }>();

  async function load() {
    last = new Map((await list()).map(({ hash, admin }) => [hash, { admin }]));
    return last;
  }

  return {
    async find(hash) {
      if (hash === adminHash) return { admin: true };
      // While the database is away, those known before are let through: their call says what is wrong.
      const keys = await memo.get('all', listedFor, load).catch(() => last);
      return keys.get(hash);
    },
    drop: () => memo.drop('all'),
  };
}
