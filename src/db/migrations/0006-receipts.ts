import { type Kysely, sql } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('receipt_keys')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('public_key', 'text', (c) => c.notNull())
    .addColumn('private_key', 'text')
    .addColumn('created_at', 'timestamptz', (c) => c.notNull())
    .addColumn('retired_at', 'timestamptz')
    .execute();
  // One present key, however many processes make one at once.
  await sql`create unique index receipt_keys_present on receipt_keys ((true)) where retired_at is null`.execute(
    db,
  );

  await db.schema
    .createTable('receipts')
    .addColumn('mirror_id', 'text', (c) => c.primaryKey().references('mirrors.id').onDelete('cascade'))
    .addColumn('envelope', 'text', (c) => c.notNull())
    .addColumn('created_at', 'timestamptz', (c) => c.notNull())
    .execute();
}
