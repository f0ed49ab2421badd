import { type Kysely, sql } from 'kysely';

/** What GET /v1/mirrors filters by: each filter that few of many mirrors pass finds them by an index. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create index mirrors_by_state on mirrors (state, seq)`.execute(db);
  await sql`create index mirrors_by_digest on mirrors (digest, seq)`.execute(db);
  await sql`create index mirrors_by_creation on mirrors (created_at)`.execute(db);
  // text_pattern_ops: whatever the database's collation, LIKE 'path/%' is a range of the index.
  await sql`drop index mirrors_by_source`.execute(db);
  await sql`create index mirrors_by_source on mirrors (source_registry, source_path text_pattern_ops, seq)`.execute(
    db,
  );
  await sql`drop index mirrors_by_target`.execute(db);
  await sql`create index mirrors_by_target on mirrors
    (target_registry, target_path text_pattern_ops, coalesce(target_tag, ''), seq)`.execute(db);
  await sql`create index requests_by_tenant on requests (tenant, mirror_id) where mirror_id is not null`.execute(
    db,
  );
}
