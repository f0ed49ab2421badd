import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  // Whoever has asked so far had a key.
  await sql`alter table requests rename column key_id to tenant`.execute(db);
  await sql`update requests set tenant = 'key:' || tenant`.execute(db);
  await db.schema
    .alterTable('mirrors')
    .addColumn('tenant', 'text')
    .addColumn('grant_sealed', 'text')
    .execute();
  // A mirror whose first request was never written is nobody's, but was made with the logins of all keys.
  await sql`update mirrors set tenant = coalesce(
    (select tenant from requests where mirror_id = mirrors.id order by created_at limit 1), 'key:')`.execute(
    db,
  );
  await sql`alter table mirrors alter column tenant set not null`.execute(db);

  await db.schema
    .createTable('pairings')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('endpoint', 'text', (c) => c.notNull())
    .addColumn('public_key', 'text', (c) => c.notNull())
    .addColumn('private_key', 'text', (c) => c.notNull())
    .addColumn('created_at', 'timestamptz', (c) => c.notNull())
    .addColumn('replaced_at', 'timestamptz')
    .execute();
  // One present pair for each endpoint, however many processes make one at once.
  await sql`create unique index pairings_present on pairings (endpoint) where replaced_at is null`.execute(
    db,
  );

  await db.schema
    .createTable('platform_tokens')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('sealed', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'timestamptz', (c) => c.notNull())
    .execute();
}
