import type { Kysely } from 'kysely';
import { Migrator } from 'kysely/migration';
import type { Db } from 'pg-boss';
import type { Config } from '../config.ts';
import { classifyDatabaseError } from './errors.ts';
import type { Schema } from './schema.ts';

/** An open, migrated database. */
export interface Database {
  kysely: Kysely<Schema>;
  /** The same database as pg-boss wants it; absent: pg-boss opens its own pool on the URL. */
  queueDatabase?: Db;
  url?: string;
  close(): Promise<void>;
}

/**
 * Opens PostgreSQL where `databaseUrl` names one, else the embedded database in the data folder, and brings
 * its schema up to date.
 * @throws MirrorError `database_unavailable`; ConfigError when another process holds the data folder.
 */
export async function openDatabase(config: Config): Promise<Database> {
  const database = config.databaseUrl
    ? await import('./pg.ts').then(({ openPg }) => openPg(config.databaseUrl as string))
    : await import('./pglite.ts').then(({ openPglite }) => openPglite(config.dataDir));
  try {
    await migrate(database.kysely);
  } catch (error) {
    await database.close();
    throw error;
  }
  return database;
}

async function migrate(kysely: Kysely<Schema>): Promise<void> {
  const migrator = new Migrator({
    db: kysely,
    // Listed by hand, in order: what runs is what one reads here.
    provider: { getMigrations: async () => ({ '0001-first': await import('./migrations/0001-first.ts') }) },
  });
  const { error } = await migrator.migrateToLatest();
  if (error) throw classifyDatabaseError(error);
}
