import { type Kysely, sql } from 'kysely';

/** What of an image is wanted, and what has arrived. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('mirrors')
    .addColumn('selection', 'text', (c) => c.notNull().defaultTo(''))
    .addColumn('arrival', 'jsonb')
    .execute();
  // Who wants something else of the same image can't join.
  await sql`drop index mirrors_active`.execute(db);
  await sql`create unique index mirrors_active on mirrors
    (target_registry, target_path, digest, coalesce(target_tag, ''), coalesce(source_digest, ''), selection)
    where state in ('queued', 'copying')`.execute(db);
}
