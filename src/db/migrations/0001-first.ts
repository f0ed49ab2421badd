import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('mirrors')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('source_registry', 'text', (c) => c.notNull())
    .addColumn('source_path', 'text', (c) => c.notNull())
    .addColumn('source_tag', 'text')
    .addColumn('source_digest', 'text')
    .addColumn('target_registry', 'text', (c) => c.notNull())
    .addColumn('target_path', 'text', (c) => c.notNull())
    .addColumn('target_tag', 'text')
    .addColumn('digest', 'text', (c) => c.notNull())
    .addColumn('state', 'text', (c) => c.notNull())
    .addColumn('phase', 'text')
    .addColumn('layers_done', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('layers_total', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('bytes_done', 'bigint', (c) => c.notNull().defaultTo(0))
    .addColumn('bytes_total', 'bigint', (c) => c.notNull().defaultTo(0))
    .addColumn('attempts', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('claims', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('created_at', 'timestamptz', (c) => c.notNull())
    .addColumn('started_at', 'timestamptz')
    .addColumn('finished_at', 'timestamptz')
    .addColumn('failure', 'jsonb')
    .addColumn('exit_code', 'integer')
    .addColumn('log', 'text', (c) => c.notNull().defaultTo(''))
    .execute();
  // One mirror under way for each (target, digest): whoever asks for the same image joins it.
  await sql`create unique index mirrors_active on mirrors
    (target_registry, target_path, digest, coalesce(target_tag, ''), coalesce(source_digest, ''))
    where state in ('queued', 'copying')`.execute(db);
  await sql`create index mirrors_by_target on mirrors
    (target_registry, target_path, coalesce(target_tag, ''), created_at)`.execute(db);
  await sql`create index mirrors_by_source on mirrors (source_registry)`.execute(db);
  await sql`create index mirrors_by_age on mirrors (created_at desc, id desc)`.execute(db);

  await db.schema
    .createTable('requests')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('mirror_id', 'text')
    .addColumn('key_id', 'text', (c) => c.notNull())
    .addColumn('image', 'text', (c) => c.notNull())
    .addColumn('target', 'text', (c) => c.notNull())
    .addColumn('digest', 'text', (c) => c.notNull())
    .addColumn('cached', 'boolean', (c) => c.notNull())
    .addColumn('dry_run', 'boolean', (c) => c.notNull())
    .addColumn('created_at', 'timestamptz', (c) => c.notNull())
    .execute();
  await sql`create index requests_by_mirror on requests (mirror_id, key_id) where mirror_id is not null`.execute(
    db,
  );

  await db.schema
    .createTable('keys')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('name', 'text', (c) => c.notNull())
    .addColumn('hash', 'text', (c) => c.notNull().unique())
    .addColumn('admin', 'boolean', (c) => c.notNull())
    .addColumn('created_at', 'timestamptz', (c) => c.notNull())
    .addColumn('last_used_at', 'timestamptz')
    .addColumn('revoked_at', 'timestamptz')
    .execute();
}
