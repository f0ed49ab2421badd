import { type Kysely, sql } from 'kysely';
import { guarded } from './errors.ts';
import type { Schema } from './schema.ts';

/** Where a pass goes on: behind this mirror, in the order in which they ended. */
export interface Place {
  at: Date;
  id: string;
}

export type RetentionStore = ReturnType<typeof createRetentionStore>;

/** Of several processes on one database, one at a time removes anything. Any number that nobody else uses. */
const removing = 0x64726179;

/** Removes what is old, a few rows a call, so that nobody waits for it. */
export function createRetentionStore(kysely: Kysely<Schema>) {
  const alone = <T>(work: (transaction: Kysely<Schema>) => Promise<T>): Promise<T | undefined> =>
    guarded(() =>
      kysely.transaction().execute(async (transaction) => {
        const { rows } = await sql<{
          mine: boolean;
        }>`select pg_try_advisory_xact_lock(${removing}::bigint) as mine`.execute(transaction);
        return rows[0]?.mine ? work(transaction) : undefined;
      }),
    );

  /** The next mirrors that ended before a time. */
  const ended = async (
    transaction: Kysely<Schema>,
    before: Date,
    after: Place | undefined,
    limit: number,
  ) => {
    let query = transaction
      .selectFrom('mirrors')
      .select(['id', 'finished_at as at'])
      .where('finished_at', '<', before);
    if (after) query = query.where(sql<boolean>`(finished_at, id) > (${after.at}::timestamptz, ${after.id})`);
    const rows = await query.orderBy('finished_at').orderBy('id').limit(limit).execute();
    const last = rows.at(-1);
    return {
      ids: rows.map(({ id }) => id),
      next: rows.length === limit && last?.at ? { at: last.at, id: last.id } : undefined,
    };
  };

  return {
    /** Removes logs and events. @returns where to go on; undefined at the end. */
    trim: (before: Date, after: Place | undefined, limit: number): Promise<Place | undefined> =>
      alone(async (transaction) => {
        const { ids, next } = await ended(transaction, before, after, limit);
        if (ids.length === 0) return undefined;
        await transaction
          .updateTable('mirrors')
          .set({ log: '' })
          .where('id', 'in', ids)
          .where('log', '!=', '')
          .execute();
        await transaction.deleteFrom('events').where('mirror_id', 'in', ids).execute();
        return next;
      }),

    /**
     * Removes records of mirrors, but not the latest of a target's tag that is done: it tells where that comes from, so
     * that another source does not take its place. @returns where to go on; undefined at the end.
     */
    removeMirrors: (before: Date, after: Place | undefined, limit: number): Promise<Place | undefined> =>
      alone(async (transaction) => {
        const { ids, next } = await ended(transaction, before, after, limit);
        if (ids.length === 0) return undefined;
        await transaction
          .deleteFrom('mirrors')
          .where('id', 'in', ids)
          .where(
            sql<boolean>`(state <> 'done' or exists (select from mirrors as later
              where later.target_registry = mirrors.target_registry and later.target_path = mirrors.target_path
                and coalesce(later.target_tag, '') = coalesce(mirrors.target_tag, '')
                and later.state = 'done' and later.seq > mirrors.seq))`,
          )
          .execute();
        return next;
      }),

    /**
     * Removes records of requests, but not of those whose mirror is under way or has ended since: somebody may have
     * waited for it all the time. @returns whether there may be more.
     */
    removeRequests: (before: Date, limit: number): Promise<boolean | undefined> =>
      alone(async (transaction) => {
        // Their ids begin with the time: this reads one end of an index.
        const end = before.getTime().toString(16);
        const { numAffectedRows = 0n } = await sql`delete from requests where id in (
          select id from requests where id < ${end} and not exists (select from mirrors
            where mirrors.id = requests.mirror_id and coalesce(mirrors.finished_at, 'infinity') >= ${before})
          order by id limit ${limit})`.execute(transaction);
        return Number(numAffectedRows) === limit;
      }),
  };
}
