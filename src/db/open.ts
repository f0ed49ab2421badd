import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Kysely } from 'kysely';
import { Migrator } from 'kysely/migration';
import type { Db } from 'pg-boss';
import { type Config, ConfigError } from '../config.ts';
import { type Lock, LockedError, takeLock } from '../lib/lock.ts';
import { classifyDatabaseError } from './errors.ts';
import type { Schema } from './schema.ts';

/**
 * For every pool on PostgreSQL: a server that takes a statement and never answers is as good as gone (milliseconds).
 */
export const poolOptions = { query_timeout: 10_000, connectionTimeoutMillis: 5000, keepAlive: true };

/** Milliseconds for one statement of a migration; another process may be at it too. */
const migrationLimit = 600_000;

/** An open, migrated database. */
export interface Database {
  kysely: Kysely<Schema>;
  /** The same database as pg-boss wants it; absent: pg-boss opens its own pool on the URL. */
  queueDatabase?: Db;
  url?: string;
  close(): Promise<void>;
}

/**
 * Takes the data folder, opens PostgreSQL where `databaseUrl` names one, else the embedded database in that
 * folder, and brings the schema up to date.
 * @throws MirrorError `database_unavailable`; ConfigError when another process holds the data folder.
 */
export async function openDatabase(config: Config): Promise<Database> {
  const { dataDir, databaseUrl } = config;
  const lock = await lockDataDir(dataDir);
  let database: Database | undefined;
  try {
    if (databaseUrl) {
      const { openPg } = await import('./pg.ts');
      // What changes every row of a large table takes longer than a request may wait.
      const patient = openPg(databaseUrl, { query_timeout: migrationLimit });
      await migrate(patient.kysely).finally(patient.close);
      database = openPg(databaseUrl);
    } else {
      database = await (await import('./pglite.ts')).openPglite(join(dataDir, 'db'));
      await migrate(database.kysely);
    }
  } catch (error) {
    await database?.close();
    await lock.release();
    throw error;
  }
  const opened = database;
  return {
    ...opened,
    async close() {
      await opened.close();
      await lock.release();
    },
  };
}

async function lockDataDir(dataDir: string): Promise<Lock> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw new ConfigError(
      `DRAY_DATA_DIR: ${dataDir} can't be made (${(error as NodeJS.ErrnoException).code}). Name a folder that you may write to.`,
    );
  });
  return takeLock(join(dataDir, 'lock')).catch((error: unknown) => {
    if (error instanceof LockedError)
      throw new ConfigError(
        `DRAY_DATA_DIR: ${dataDir} is in use${error.holder ? ` by process ${error.holder}` : ''}. ` +
          'Stop that service, or give this one a folder of its own.',
      );
    throw new ConfigError(
      `DRAY_DATA_DIR: ${dataDir} can't be used (${(error as NodeJS.ErrnoException).code}). Name a folder that you may write to.`,
    );
  });
}

/**
 * Brings the schema up to date. A migration that was ever released is never changed: a database that has it is not
 * given it again.
 * @param last where to stop, for tests.
 */
export async function migrate(kysely: Kysely<Schema>, last?: string): Promise<void> {
  const migrator = new Migrator({
    db: kysely,
    // Listed by hand, in order: what runs is what one reads here.
    provider: {
      getMigrations: async () => ({
        '0001-first': await import('./migrations/0001-first.ts'),
        '0002-tenants': await import('./migrations/0002-tenants.ts'),
        '0003-events': await import('./migrations/0003-events.ts'),
        '0004-order': await import('./migrations/0004-order.ts'),
        '0005-selection': await import('./migrations/0005-selection.ts'),
        '0006-receipts': await import('./migrations/0006-receipts.ts'),
        '0007-list': await import('./migrations/0007-list.ts'),
      }),
    },
  });
  const { error } = await (last === undefined ? migrator.migrateToLatest() : migrator.migrateTo(last));
  if (error) throw classifyDatabaseError(error);
}
