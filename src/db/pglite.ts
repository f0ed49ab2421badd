import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { Kysely } from 'kysely';
import { fromPglite } from 'pg-boss';
import { ConfigError } from '../config.ts';
import { LockedError, takeLock } from '../lib/lock.ts';
import type { Database } from './open.ts';
import { createPgliteDialect } from './pglite-dialect.ts';
import type { Schema } from './schema.ts';

/** PGlite never vacuums by itself; ten minutes keep a busy queue's dead rows small. */
const vacuumEvery = 10 * 60_000;

/** Opens the embedded database in `<dataDir>/db`, which one process at a time may hold. */
export async function openPglite(dataDir: string): Promise<Database> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const lock = await takeLock(join(dataDir, 'lock')).catch((error: unknown) => {
    if (!(error instanceof LockedError)) throw error;
    throw new ConfigError(
      `DRAY_DATA_DIR: ${dataDir} is in use${error.holder ? ` by process ${error.holder}` : ''}. ` +
        'Stop that service, give this one a folder of its own, or set DRAY_DATABASE_URL to share a PostgreSQL.',
    );
  });
  let pglite: PGlite;
  try {
    pglite = await PGlite.create({ dataDir: join(dataDir, 'db') });
  } catch (error) {
    await lock.release();
    throw error;
  }
  const vacuum = setInterval(() => {
    // A missed vacuum costs speed, nothing else; the next one makes up for it.
    pglite.exec('vacuum analyze').catch(() => undefined);
  }, vacuumEvery);
  vacuum.unref();
  const kysely = new Kysely<Schema>({ dialect: createPgliteDialect(pglite) });
  return {
    kysely,
    queueDatabase: fromPglite(pglite),
    async close() {
      clearInterval(vacuum);
      await kysely.destroy();
      if (!pglite.closed) await pglite.close();
      await lock.release();
    },
  };
}
