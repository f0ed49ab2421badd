import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('mirrors')
    .addColumn('wait_until', 'timestamptz')
    .addColumn('wait_host', 'text')
    .execute();
  // What is old enough to be removed.
  await sql`create index mirrors_by_end on mirrors (finished_at) where finished_at is not null`.execute(db);

  await sql`create table events (
    id bigint generated always as identity primary key,
    mirror_id text not null,
    at timestamptz not null default clock_timestamp(),
    type text not null,
    data jsonb not null,
    xid xid8 not null default pg_current_xact_id())`.execute(db);
  await sql`create index events_by_mirror on events (mirror_id, id)`.execute(db);
  await sql`create index events_by_transaction on events (xid, id)`.execute(db);
}
