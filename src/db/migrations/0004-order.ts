import { type Kysely, sql } from 'kysely';

/** The order in which mirrors were asked for, whatever the clock said then. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table mirrors add column seq bigint`.execute(db);
  await sql`update mirrors set seq = ordered.n
    from (select id, row_number() over (order by created_at, id) as n from mirrors) as ordered
    where ordered.id = mirrors.id`.execute(db);
  await sql`alter table mirrors alter column seq set not null`.execute(db);
  await sql`alter table mirrors alter column seq add generated always as identity`.execute(db);
  await sql`select setval(pg_get_serial_sequence('mirrors', 'seq'), (select coalesce(max(seq), 0) + 1 from mirrors), false)`.execute(
    db,
  );
  await sql`drop index mirrors_by_age`.execute(db);
  await sql`create unique index mirrors_by_seq on mirrors (seq)`.execute(db);
  await sql`drop index mirrors_by_target`.execute(db);
  await sql`create index mirrors_by_target on mirrors
    (target_registry, target_path, coalesce(target_tag, ''), seq)`.execute(db);
}
