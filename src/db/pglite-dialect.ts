import { type DatabaseConnection, type Driver, type KyselyConfig, PGliteDialect, PGliteDriver } from 'kysely';
import type { PGlite } from '@electric-sql/pglite';

type Dialect = KyselyConfig['dialect'];

/**
 * Kysely 0.29's PGlite driver hands its one connection to every caller at once: a query from elsewhere then
 * runs inside whatever transaction is open, and two transactions overwrite each other's commit. PGlite itself
 * does one thing at a time, so letting one caller in after the other costs nothing.
 */
export function createPgliteDialect(pglite: PGlite): Dialect {
  const dialect = new PGliteDialect({ pglite });
  return {
    createAdapter: () => dialect.createAdapter(),
    createIntrospector: (db) => dialect.createIntrospector(db),
    createQueryCompiler: () => dialect.createQueryCompiler(),
    createDriver: () => queueUp(new PGliteDriver({ pglite })),
  };
}

function queueUp(driver: PGliteDriver): Driver {
  let last: Promise<unknown> = Promise.resolve();
  const leave = new Map<DatabaseConnection, () => void>();
  const acquire = driver.acquireConnection.bind(driver);
  driver.acquireConnection = async () => {
    const turn = last;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    last = promise;
    await turn;
    const connection = await acquire();
    leave.set(connection, () => resolve(undefined));
    return connection;
  };
  driver.releaseConnection = async () => {
    for (const [connection, done] of leave) {
      leave.delete(connection);
      done();
    }
  };
  return driver;
}
