import { type Kysely, type QueryCreator, sql } from 'kysely';
import type { Digest } from '../core/digest.ts';
import { guarded } from './errors.ts';
import type { MirrorRow } from './mirror-row.ts';
import type { EventsTable, Schema } from './schema.ts';

/** What became of one layer. */
export interface LayerChange {
  digest: Digest;
  /** Compressed bytes. */
  size: number;
  state: 'started' | 'done' | 'skipped' | 'mounted';
}

export interface StoredEvent {
  /** Rises within a mirror. */
  id: number;
  mirrorId: string;
  at: Date;
  type: EventsTable['type'];
  data: Record<string, unknown>;
  /** Where it stands among those of all mirrors. */
  cursor: Cursor;
}

/** A place among the events of all mirrors: a transaction, and an event of it. */
export interface Cursor {
  xid: string;
  id: number;
}

/**
 * Part of a statement that has changed mirrors in a `with changed as (… returning …)`: notes their new states in the
 * same transaction, with their rows locked.
 */
export function noteState(db: QueryCreator<Schema & { changed: MirrorRow }>) {
  return db
    .insertInto('events')
    .columns(['mirror_id', 'type', 'data'])
    .expression(
      db.selectFrom('changed').select([
        'id',
        sql.lit<string>('state').as('type'),
        sql<string>`jsonb_strip_nulls(jsonb_build_object('state', state, 'attempts', attempts, 'failure', failure,
            'waitHost', wait_host, 'waitUntil', wait_until, 'layersDone', layers_done, 'layersTotal', layers_total,
            'bytesDone', bytes_done, 'bytesTotal', bytes_total, 'exitCode', exit_code))`.as('data'),
      ]),
    );
}

/**
 * The same for layers. Of each layer one `started` and one end are noted, in whatever try: a try that finds what an
 * earlier one has brought says nothing new. So it may also be repeated when it is not known whether it was done.
 */
export function noteLayers(
  db: QueryCreator<Schema & { changed: Pick<MirrorRow, 'id'> }>,
  layers: readonly LayerChange[],
) {
  return db
    .insertInto('events')
    .columns(['mirror_id', 'type', 'data'])
    .expression(
      db
        .selectFrom(
          sql<{ mirror_id: string; type: string; data: string; n: number }>`(
          select changed.id as mirror_id, 'layer' as type, layer.data, layer.n
          from changed, jsonb_array_elements(${JSON.stringify(layers)}::jsonb) with ordinality as layer (data, n)
          where not exists (select from events as earlier
            where earlier.mirror_id = changed.id and earlier.type = 'layer'
              and earlier.data ->> 'digest' = layer.data ->> 'digest'
              and (earlier.data ->> 'state' = layer.data ->> 'state' or earlier.data ->> 'state' <> 'started')))`.as(
            'news',
          ),
        )
        .select(['mirror_id', 'type', 'data'])
        .orderBy('n'),
    );
}

export type EventStore = ReturnType<typeof createEventStore>;

/** Reads what was noted. Throws MirrorError `database_unavailable` where the database fails. */
export function createEventStore(kysely: Kysely<Schema>) {
  return {
    /** Those of a mirror behind an id, in order. */
    ofMirror: (mirrorId: string, after: number, limit: number): Promise<StoredEvent[]> =>
      guarded(async () => {
        const rows = await kysely
          .selectFrom('events')
          .select(['id', 'xid', 'mirror_id', 'at', 'type', 'data'])
          .where('mirror_id', '=', mirrorId)
          .where('id', '>', after)
          .orderBy('id')
          .limit(limit)
          .execute();
        return rows.map((row) => fromRow(row));
      }),

    /** The place behind which everything is that is yet to come. */
    now: (): Promise<Cursor> =>
      guarded(async () => {
        const { rows } = await sql<{
          xid: string;
        }>`select pg_snapshot_xmin(pg_current_snapshot())::text as xid`.execute(kysely);
        return { xid: rows[0]?.xid ?? '0', id: 0 };
      }),

    /**
     * Those of all mirrors, or of those that this tenant asked for, behind a place, in order.
     *
     * An id is drawn before its transaction commits, so one that is read late may be lower than one that was read
     * already: whoever goes on behind the highest id seen skips it for ever. So the order is that of transactions, and
     * only those are looked at before which none is under way any more (`xmin` of the snapshot): nothing can come in
     * before them. Any other long transaction that writes, anywhere on the server, holds these events up, and loses none.
     *
     * @returns also where to go on: behind everything that was looked at, whosesoever it was.
     */
    since: (
      { xid, id }: Cursor,
      tenant: string | undefined,
      limit: number,
    ): Promise<{ events: StoredEvent[]; next: Cursor }> =>
      guarded(async () => {
        const own =
          tenant === undefined
            ? sql``
            : // Who asked first is known before the request is on record.
              sql`and (exists (select from mirrors where mirrors.id = events.mirror_id and mirrors.tenant = ${tenant})
                or exists (select from requests where requests.mirror_id = events.mirror_id and requests.tenant = ${tenant}))`;
        const { rows } = await sql<{ xmin: string } & (Row | { id: null })>`
          with edge as materialized (select pg_snapshot_xmin(pg_current_snapshot()) as xmin)
          select edge.xmin::text as xmin, news.* from edge left join lateral (
            select id, xid::text as xid, mirror_id, at, type, data from events
            where (events.xid, events.id) > (${xid}::xid8, ${id}::bigint) and events.xid < edge.xmin ${own}
            order by events.xid, events.id limit ${limit}) as news on true`.execute(kysely);
        const events = rows.flatMap((row) => (row.id === null ? [] : [fromRow(row)]));
        const last = events.length === limit ? events.at(-1)?.cursor : undefined;
        return { events, next: last ?? { xid: rows[0]?.xmin ?? xid, id: 0 } };
      }),
  };
}

interface Row {
  id: number;
  xid: string;
  mirror_id: string;
  at: Date;
  type: EventsTable['type'];
  data: Record<string, unknown>;
}

function fromRow({ id, xid, mirror_id: mirrorId, at, type, data }: Row): StoredEvent {
  return { id, mirrorId, at, type, data, cursor: { xid, id } };
}
