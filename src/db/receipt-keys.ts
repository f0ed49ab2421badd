import type { Kysely, Selectable } from 'kysely';
import { guarded } from './errors.ts';
import type { ReceiptKeysTable, Schema } from './schema.ts';

/** A key that receipts are, or were, signed with. */
export interface ReceiptKeyRecord {
  /** SHA-256 of the SubjectPublicKeyInfo in DER, in hex. */
  id: string;
  /** SubjectPublicKeyInfo in PEM. */
  publicKey: string;
  /** PKCS#8 in PEM, sealed; gone when it is retired. */
  privateKey?: string;
  createdAt: Date;
  retiredAt?: Date;
}

export type ReceiptKeyStore = ReturnType<typeof createReceiptKeyStore>;

/** The keys of receipts. Throws MirrorError `database_unavailable` or `disk_full` where the database fails. */
export function createReceiptKeyStore(kysely: Kysely<Schema>) {
  return {
    /** The key that is not retired. */
    present: () =>
      guarded(async () => {
        const row = await kysely
          .selectFrom('receipt_keys')
          .selectAll()
          .where('retired_at', 'is', null)
          .executeTakeFirst();
        return row && fromRow(row);
      }),

    /**
     * Makes a key the present one, in the place of `old` or of none. The private half of `old` is deleted.
     * @returns false, with nothing changed, when another process was faster.
     */
    replace: (old: string | undefined, next: Required<Omit<ReceiptKeyRecord, 'retiredAt'>>) =>
      guarded(() =>
        kysely.transaction().execute(async (db) => {
          if (old !== undefined) {
            const { numUpdatedRows } = await db
              .updateTable('receipt_keys')
              .set({ retired_at: next.createdAt, private_key: null })
              .where('id', '=', old)
              .where('retired_at', 'is', null)
              .executeTakeFirst();
            // Who retires the old key holds its row until the new one is there.
            if (numUpdatedRows === 0n) return false;
          }
          const { numInsertedOrUpdatedRows } = await db
            .insertInto('receipt_keys')
            .values({
              id: next.id,
              public_key: next.publicKey,
              private_key: next.privateKey,
              created_at: next.createdAt,
            })
            .onConflict((conflict) => conflict.doNothing())
            .executeTakeFirst();
          return numInsertedOrUpdatedRows === 1n;
        }),
      ),

    /** Every key there ever was, the newest first. */
    list: () =>
      guarded(async () => {
        const rows = await kysely
          .selectFrom('receipt_keys')
          .selectAll()
          .orderBy('created_at', 'desc')
          .orderBy('id')
          .execute();
        return rows.map((row) => fromRow(row));
      }),

    /** Puts another sealed form of the same private key in the place of `old`, unless it has gone. */
    reseal: (id: string, old: string, sealed: string) =>
      guarded(async () => {
        await kysely
          .updateTable('receipt_keys')
          .set({ private_key: sealed })
          .where('id', '=', id)
          .where('private_key', '=', old)
          .execute();
      }),
  };
}

function fromRow(row: Selectable<ReceiptKeysTable>): ReceiptKeyRecord {
  return {
    id: row.id,
    publicKey: row.public_key,
    ...(row.private_key !== null && { privateKey: row.private_key }),
    createdAt: row.created_at,
    ...(row.retired_at && { retiredAt: row.retired_at }),
  };
}
