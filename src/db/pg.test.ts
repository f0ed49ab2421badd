import { sql } from 'kysely';
import { expect, it } from 'vitest';
import { startPostgres } from '../../test/fixtures/postgres.ts';
import { guarded } from './errors.ts';
import { openPg } from './pg.ts';

it('a server that dies in the middle of a statement and of a transaction costs these, and not the process', async () => {
  const postgres = await startPostgres();
  const { kysely, close } = openPg(postgres.url);
  try {
    const begun = Promise.withResolvers<undefined>();
    const crashed = Promise.withResolvers<undefined>();
    const statement = guarded(() => sql`select pg_sleep(60)`.execute(kysely));
    // Between two statements nobody waits for an answer who could hear of the end.
    const transaction = guarded(() =>
      kysely.transaction().execute(async (inside) => {
        await sql`select 1`.execute(inside);
        begun.resolve(undefined);
        await crashed.promise;
        await sql`select 1`.execute(inside);
      }),
    );
    const ends = Promise.allSettled([statement, transaction]);
    await begun.promise;
    await postgres.crash();
    crashed.resolve(undefined);
    for (const end of await ends)
      expect(end).toMatchObject({ status: 'rejected', reason: { code: 'database_unavailable' } });
  } finally {
    await close();
    await postgres.stop();
  }
});
