import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startPostgres, type TestPostgres } from '../../test/fixtures/postgres.ts';
import { loadConfig } from '../config.ts';
import { type Database, openDatabase } from '../db/open.ts';
import { createRetentionStore } from '../db/retention.ts';
import { tidy } from './upkeep.ts';

const now = Date.UTC(2026, 10, 25);
const day = 86_400_000;
const kept = { records: 30, logs: 7 };

describe.each(['embedded', 'PostgreSQL'])('what is over, %s', (kind) => {
  let folder: string;
  let postgres: TestPostgres | undefined;
  let database: Database;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dray-upkeep-'));
    postgres = kind === 'embedded' ? undefined : await startPostgres();
    const env = { DRAY_DATA_DIR: folder, ...(postgres && { DRAY_DATABASE_URL: postgres.url }) };
    database = await openDatabase(loadConfig(env, folder));
  });
  afterAll(async () => {
    await database.close();
    await postgres?.stop();
    await rm(folder, { recursive: true });
  });
  beforeEach(async () => {
    for (const table of ['mirrors', 'requests', 'events'] as const)
      await database.kysely.deleteFrom(table).execute();
  });

  /** `count` mirrors to as many targets, with a log, an event and a request each, that ended so many days ago. */
  const add = async (prefix: string, count: number, state: string, days: number, path = '') => {
    const at = new Date(now - days * day).toISOString();
    const ended = ['queued', 'copying'].includes(state) ? null : at;
    const each = sql`from generate_series(1, ${count}::integer) as n`;
    await sql`insert into mirrors (id, tenant, source_registry, source_path, target_registry, target_path, digest,
      state, created_at, finished_at, log)
      select ${prefix}::text || n, 'key:a', 's', 'a', 't', ${path}::text || (case when ${path} = '' then ${prefix}::text || n else '' end),
        'sha256:' || n, ${state}, ${at}::timestamptz + n * interval '1 ms', ${ended}::timestamptz, 'what Skopeo said' ${each}`.execute(
      database.kysely,
    );
    await sql`insert into events (mirror_id, type, data) select ${prefix}::text || n, 'state', '{}' ${each}`.execute(
      database.kysely,
    );
    const time = (now - days * day).toString(16);
    await sql`insert into requests (id, mirror_id, tenant, image, target, digest, cached, dry_run, created_at)
      select ${time}::text || ${prefix}::text || n, ${prefix}::text || n, 'key:a', 'a', 't', 'd', false, false, ${at}::timestamptz ${each}`.execute(
      database.kysely,
    );
  };
  const count = async (table: string, where = sql`true`) => {
    const { rows } = await sql<{ n: number }>`select count(*)::integer as n from ${sql.table(table)}
      where ${where}`.execute(database.kysely);
    return rows[0]?.n;
  };
  const run = (signal = new AbortController().signal) =>
    tidy(createRetentionStore(database.kysely), kept, now, signal);

  it('goes when it is old, in whatever number, and what is younger stays', async () => {
    await add('old-', 1201, 'failed', 31);
    await add('young-', 7, 'failed', 29);
    await run();
    expect(await count('mirrors')).toBe(7);
    expect(await count('requests')).toBe(7);
    expect(await count('events')).toBe(0);
  });

  it('loses its log and its events before its record', async () => {
    await add('old-', 520, 'failed', 8);
    await add('young-', 3, 'failed', 6);
    await run();
    expect(await count('mirrors')).toBe(523);
    expect(await count('mirrors', sql`log <> ''`)).toBe(3);
    expect(await count('events')).toBe(3);
  });

  it('stays where it tells where a tag of a target comes from', async () => {
    await add('there-', 5, 'done', 400, 'one/path');
    await add('other-', 2, 'done', 400);
    await add('again-', 1, 'failed', 400, 'one/path');
    await run();
    const left = await database.kysely.selectFrom('mirrors').select('id').orderBy('id').execute();
    expect(left.map(({ id }) => id)).toEqual(['other-1', 'other-2', 'there-5']);
    expect(await count('mirrors', sql`log <> ''`)).toBe(0);
  });

  it('is not what is under way, however old', async () => {
    await add('waits-', 2, 'queued', 100);
    await add('runs-', 2, 'copying', 100);
    await run();
    expect(await count('mirrors')).toBe(4);
    expect(await count('requests')).toBe(4);
    expect(await count('events')).toBe(4);
  });

  it('keeps the requests of who has waited longer than records are kept', async () => {
    await add('waited-', 3, 'failed', 31);
    await sql`update mirrors set finished_at = ${new Date(now - day)}`.execute(database.kysely);
    await run();
    expect([await count('mirrors'), await count('requests')]).toEqual([3, 3]);
  });

  it('is left alone once the service stops', async () => {
    await add('old-', 1201, 'failed', 31);
    await run(AbortSignal.abort());
    // One batch of each is under way then.
    expect(await count('mirrors')).toBe(701);
  });
});
