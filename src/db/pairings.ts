import type { Kysely, Selectable } from 'kysely';
import { guarded } from './errors.ts';
import type { PairingsTable, Schema } from './schema.ts';

/** A key pair that an endpoint of Seqera Platform was, or is, given. */
export interface PairingRecord {
  id: string;
  endpoint: string;
  /** Base64 of the SubjectPublicKeyInfo in DER. */
  publicKey: string;
  /** PKCS#8 in PEM, sealed. */
  privateKey: string;
  createdAt: Date;
  replacedAt?: Date;
}

export type PairingStore = ReturnType<typeof createPairingStore>;

/** The records of key pairs. Throws MirrorError `database_unavailable` or `disk_full` where the database fails. */
export function createPairingStore(kysely: Kysely<Schema>) {
  return {
    get: (id: string) =>
      guarded(async () => {
        const row = await kysely.selectFrom('pairings').selectAll().where('id', '=', id).executeTakeFirst();
        return row && fromRow(row);
      }),

    /** The pair that is not replaced. */
    present: (endpoint: string) =>
      guarded(async () => {
        const row = await kysely
          .selectFrom('pairings')
          .selectAll()
          .where('endpoint', '=', endpoint)
          .where('replaced_at', 'is', null)
          .executeTakeFirst();
        return row && fromRow(row);
      }),

    /**
     * Makes a pair the present one of its endpoint, in the place of `old` or of none.
     * @returns false, with nothing changed, when another process was faster.
     */
    replace: (old: string | undefined, next: PairingRecord) =>
      guarded(() =>
        kysely.transaction().execute(async (db) => {
          if (old !== undefined) {
            const { numUpdatedRows } = await db
              .updateTable('pairings')
              .set({ replaced_at: next.createdAt })
              .where('id', '=', old)
              .where('replaced_at', 'is', null)
              .executeTakeFirst();
            // Who replaces the old pair holds its row until the new one is there.
            if (numUpdatedRows === 0n) return false;
          }
          const { numInsertedOrUpdatedRows } = await db
            .insertInto('pairings')
            .values({
              id: next.id,
              endpoint: next.endpoint,
              public_key: next.publicKey,
              private_key: next.privateKey,
              created_at: next.createdAt,
            })
            .onConflict((conflict) =>
              conflict.column('endpoint').where('replaced_at', 'is', null).doNothing(),
            )
            .executeTakeFirst();
          return numInsertedOrUpdatedRows === 1n;
        }),
      ),

    list: () =>
      guarded(async () => {
        const rows = await kysely.selectFrom('pairings').selectAll().orderBy('created_at').execute();
        return rows.map((row) => fromRow(row));
      }),

    /** Puts another sealed form of the same private key in the place of `old`, unless it has gone. */
    reseal: (id: string, old: string, sealed: string) =>
      guarded(async () => {
        await kysely
          .updateTable('pairings')
          .set({ private_key: sealed })
          .where('id', '=', id)
          .where('private_key', '=', old)
          .execute();
      }),

    /** Deletes what was replaced before that time. */
    sweep: (before: Date) =>
      guarded(async () => {
        await kysely.deleteFrom('pairings').where('replaced_at', '<', before).execute();
      }),
  };
}

function fromRow(row: Selectable<PairingsTable>): PairingRecord {
  return {
    id: row.id,
    endpoint: row.endpoint,
    publicKey: row.public_key,
    privateKey: row.private_key,
    createdAt: row.created_at,
    ...(row.replaced_at && { replacedAt: row.replaced_at }),
  };
}
