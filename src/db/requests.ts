import { type Kysely, sql } from 'kysely';
import type { Digest } from '../core/digest.ts';
import { createBatcher } from '../lib/batch.ts';
import { guarded } from './errors.ts';
import type { Schema } from './schema.ts';

/** One answered request: what its id stands for in the status call. */
export interface StoredRequest {
  id: string;
  mirrorId?: string;
  tenant: string;
  image: string;
  target: string;
  digest: Digest;
  cached: boolean;
  dryRun: boolean;
  createdAt: Date;
}

export type RequestStore = ReturnType<typeof createRequestStore>;

/** Rows of one insert; more gain nothing and make the longest answer wait. */
const batchLimit = 500;

/** Milliseconds in which a request is on record: it may wait for the database, and clocks are not the same everywhere. */
const lateness = 60_000;

/**
 * The records of requests.
 * @param changed hears of each mirror that was asked for here, when that is on record.
 */
export function createRequestStore(
  kysely: Kysely<Schema>,
  changed: (mirrorId: string) => void = () => undefined,
) {
  // One JSON parameter for the whole batch: the statement stays the same, whatever its size.
  const inserts = createBatcher<StoredRequest, Set<string>>(
    (requests) =>
      guarded(async () => {
        // The lock waits for a cancellation that is under way, and keeps the next one out until the rows can be seen.
        const { rows } = await sql<{ id: string }>`with new as (
            select * from json_to_recordset(${JSON.stringify(requests)}::json) as new
              (id text, "mirrorId" text, tenant text, image text, target text, digest text, cached boolean,
               "dryRun" boolean, "createdAt" timestamptz)),
          held as materialized (
            select id, state from mirrors where id in (select "mirrorId" from new where not cached)
            order by id for key share),
          added as (
            insert into requests (id, mirror_id, tenant, image, target, digest, cached, dry_run, created_at)
            select id, "mirrorId", tenant, image, target, digest, cached, "dryRun", "createdAt" from new
            where "mirrorId" is null or "mirrorId" not in (select id from held where state = 'cancelled')
            on conflict do nothing)
          select id from held where state = 'cancelled'`.execute(kysely);
        for (const { mirrorId } of requests) if (mirrorId !== undefined) changed(mirrorId);
        return new Set(rows.map(({ id }) => id));
      }),
    batchLimit,
  );

  return {
    /**
     * Resolves when the row is durable, also when it is added again; rows of simultaneous requests are written together.
     * @returns false, and nothing is written, when the mirror that the request waits for has been cancelled.
     */
    add: async (request: StoredRequest): Promise<boolean> => {
      const cancelled = await inserts.add(request);
      return request.cached || request.mirrorId === undefined || !cancelled.has(request.mirrorId);
    },

    get: (id: string): Promise<StoredRequest | undefined> =>
      guarded(async () => {
        const row = await kysely.selectFrom('requests').selectAll().where('id', '=', id).executeTakeFirst();
        return (
          row && {
            id: row.id,
            ...(row.mirror_id !== null && { mirrorId: row.mirror_id }),
            tenant: row.tenant,
            image: row.image,
            target: row.target,
            digest: row.digest as Digest,
            cached: row.cached,
            dryRun: row.dry_run,
            createdAt: row.created_at,
          }
        );
      }),

    /** Mirrors of others that this tenant has asked for too, in the last minute. */
    joined: (tenant: string): Promise<string[]> =>
      guarded(async () => {
        // Their ids begin with the time: this reads one end of an index.
        const from = (Date.now() - lateness).toString(16);
        const rows = await kysely
          .selectFrom('requests')
          .innerJoin('mirrors', 'mirrors.id', 'requests.mirror_id')
          .select('mirrors.id')
          .distinct()
          .where('requests.id', '>', from)
          .where('requests.tenant', '=', tenant)
          .where('mirrors.tenant', '!=', tenant)
          .execute();
        return rows.map(({ id }) => id);
      }),

    /** Whether this tenant has asked for this mirror. */
    asked: (mirrorId: string, tenant: string): Promise<boolean> =>
      guarded(async () => {
        const row = await kysely
          .selectFrom('requests')
          .select('id')
          .where('mirror_id', '=', mirrorId)
          .where('tenant', '=', tenant)
          .limit(1)
          .executeTakeFirst();
        return row !== undefined;
      }),
  };
}
