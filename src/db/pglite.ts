import { PGlite } from '@electric-sql/pglite';
import { Kysely } from 'kysely';
import { fromPglite } from 'pg-boss';
import type { Database } from './open.ts';
import { createPgliteDialect } from './pglite-dialect.ts';
import type { Schema } from './schema.ts';

/** PGlite never vacuums by itself; ten minutes keep a busy queue's dead rows small. */
const vacuumEvery = 10 * 60_000;

/** PostgreSQL touches all of its buffers sooner or later; 128 MB, its default, is more than our tables need. */
const startParams = [...PGlite.defaultStartParams, '-c', 'shared_buffers=16MB'];

/** Opens the embedded database in `folder`, which must be this process's alone. */
export async function openPglite(folder: string): Promise<Database> {
  const pglite = await PGlite.create({ dataDir: folder, startParams });
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
    },
  };
}
