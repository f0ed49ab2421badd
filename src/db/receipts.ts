import { type Kysely, sql } from 'kysely';
import { guarded } from './errors.ts';
import type { Schema } from './schema.ts';

export type ReceiptStore = ReturnType<typeof createReceiptStore>;

/**
 * The receipts of mirrors; they go with the records of these. One that is signed when its mirror ends is written by
 * `settle` (mirrors.ts). Throws MirrorError `database_unavailable` or `disk_full` where the database fails.
 */
export function createReceiptStore(kysely: Kysely<Schema>) {
  const find = async (mirrorId: string) => {
    const row = await kysely
      .selectFrom('receipts')
      .select('envelope')
      .where('mirror_id', '=', mirrorId)
      .executeTakeFirst();
    return row?.envelope;
  };
  return {
    /** The envelope of a mirror, as it was kept. */
    get: (mirrorId: string) => guarded(() => find(mirrorId)),

    /**
     * Keeps an envelope, unless an earlier try has kept one.
     * @returns the one that is kept; undefined when the mirror's record has gone.
     */
    keep: (mirrorId: string, envelope: string, at: Date) =>
      guarded(async () => {
        await kysely
          .insertInto('receipts')
          .columns(['mirror_id', 'envelope', 'created_at'])
          .expression((db) =>
            db
              .selectFrom('mirrors')
              .select(['id', sql<string>`${envelope}`.as('envelope'), sql<Date>`${at}::timestamptz`.as('at')])
              .where('id', '=', mirrorId),
          )
          .onConflict((conflict) => conflict.doNothing())
          .execute();
        return find(mirrorId);
      }),
  };
}
