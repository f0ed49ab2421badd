import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import { type Database, poolOptions } from './open.ts';
import type { Schema } from './schema.ts';

/** Opens a pool on PostgreSQL (14 or later). */
export function openPg(url: string, options: Partial<typeof poolOptions> = {}): Database {
  const pool = new pg.Pool({
    connectionString: url,
    max: 10,
    application_name: 'dray',
    // A request must be answered (503) while the server is away, and not hang.
    ...poolOptions,
    ...options,
    types: {
      // int8 comes as a string by default; our byte counts fit a double.
      getTypeParser: (oid, format): unknown =>
        oid === pg.types.builtins.INT8 ? Number : pg.types.getTypeParser(oid, format),
    },
  });
  // An idle connection that the server drops is replaced by the next query; without a listener it would end the process.
  pool.on('error', () => undefined);
  // The pool listens to idle ones only. Whoever uses one hears of its end from the statement that fails.
  pool.on('connect', (client) => client.on('error', () => undefined));
  const kysely = new Kysely<Schema>({ dialect: new PostgresDialect({ pool }) });
  return { kysely, url, close: () => kysely.destroy() };
}
