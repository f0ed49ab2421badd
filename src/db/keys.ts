import { randomBytes } from 'node:crypto';
import type { Kysely, Selectable } from 'kysely';
import { hashKey, type Key, type KeyStore, newKey } from '../core/key.ts';
import { guarded } from './errors.ts';
import type { KeysTable, Schema } from './schema.ts';

export function createKeyStore(kysely: Kysely<Schema>): KeyStore {
  return {
    create: (name, admin, key = newKey()) =>
      guarded(async () => {
        const record = { id: `key-${randomBytes(4).toString('hex')}`, name, admin, createdAt: new Date() };
        await kysely
          .insertInto('keys')
          .values({ id: record.id, name, admin, created_at: record.createdAt, hash: hashKey(key) })
          .execute();
        return { record, key };
      }),
    list: () =>
      guarded(async () => {
        const rows = await kysely.selectFrom('keys').selectAll().orderBy('created_at').execute();
        return rows.map((row) => fromRow(row));
      }),
    revoke: (id) =>
      guarded(async () => {
        await kysely
          .updateTable('keys')
          .set({ revoked_at: new Date() })
          .where('id', '=', id)
          .where('revoked_at', 'is', null)
          .execute();
        const row = await kysely.selectFrom('keys').selectAll().where('id', '=', id).executeTakeFirst();
        return row && fromRow(row);
      }),
    find: (hash) =>
      guarded(async () => {
        const row = await kysely
          .selectFrom('keys')
          .selectAll()
          .where('hash', '=', hash)
          .where('revoked_at', 'is', null)
          .executeTakeFirst();
        return row && fromRow(row);
      }),
    listGood: () =>
      guarded(() =>
        kysely.selectFrom('keys').select(['hash', 'admin']).where('revoked_at', 'is', null).execute(),
      ),
    touch: (id, at) =>
      guarded(async () => {
        await kysely.updateTable('keys').set({ last_used_at: at }).where('id', '=', id).execute();
      }),
  };
}

function fromRow(row: Selectable<KeysTable>): Key {
  return {
    id: row.id,
    name: row.name,
    admin: row.admin,
    createdAt: row.created_at,
    ...(row.last_used_at && { lastUsedAt: row.last_used_at }),
    ...(row.revoked_at && { revokedAt: row.revoked_at }),
  };
}
