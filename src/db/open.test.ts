import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startPostgres, type TestPostgres } from '../../test/fixtures/postgres.ts';
import { loadConfig } from '../config.ts';
import type { Mirror } from '../core/mirror.ts';
import { createMirrorStore } from './mirrors.ts';
import { migrate, openDatabase } from './open.ts';
import { openPg } from './pg.ts';
import { openPglite } from './pglite.ts';
import { createRequestStore } from './requests.ts';

describe.each(['embedded', 'PostgreSQL'])('a database of version 0.1.0, %s', (kind) => {
  let folder: string;
  let postgres: TestPostgres | undefined;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dray-db-'));
    postgres = kind === 'embedded' ? undefined : await startPostgres();
  });
  afterEach(async () => {
    await postgres?.stop();
    await rm(folder, { recursive: true });
  });

  it('is brought up to date, and its mirrors stay those of who asked', async () => {
    const old = postgres ? openPg(postgres.url) : await openPglite(join(folder, 'db'));
    await migrate(old.kysely, '0001-first');
    const digest = `sha256:${'a'.repeat(64)}`;
    for (const id of ['mr-asked', 'mr-unasked'])
      await sql`insert into mirrors (id, source_registry, source_path, source_tag, target_registry, target_path, target_tag,
        digest, state, created_at) values (${id}, 'src.io', ${id}, '1', 'dst.io', ${id}, '1', ${digest}, 'done', now())`.execute(
        old.kysely,
      );
    await sql`insert into requests (id, mirror_id, key_id, image, target, digest, cached, dry_run, created_at)
      values ('r1', 'mr-asked', 'key-1', 'src.io/a', 'dst.io/a', ${digest}, false, false, now()),
        ('r2', 'mr-asked', 'DRAY_API_KEY', 'src.io/a', 'dst.io/a', ${digest}, false, false, now() + interval '1 s')`.execute(
      old.kysely,
    );
    await old.close();

    const env = { DRAY_DATA_DIR: folder, ...(postgres && { DRAY_DATABASE_URL: postgres.url }) };
    const database = await openDatabase(loadConfig(env, folder));
    const mirrors = createMirrorStore(database.kysely);
    expect((await mirrors.get('mr-asked'))?.tenant).toBe('key:key-1');
    expect((await mirrors.get('mr-unasked'))?.tenant).toBe('key:');
    const asked = await mirrors.list({ tenant: 'key:DRAY_API_KEY' }, { limit: 9 });
    expect(asked.mirrors.map(({ id }) => id)).toEqual(['mr-asked']);
    // They keep their order, and new ones come behind them.
    const { mirrors: listed } = await mirrors.list({}, { limit: 9 });
    expect(listed.map(({ id }) => id)).toEqual(['mr-unasked', 'mr-asked']);
    const fresh = { ...listed[0], id: 'mr-fresh', state: 'queued', createdAt: new Date(0) } as Mirror;
    await mirrors.create(fresh, undefined, () => Promise.resolve());
    expect((await mirrors.list({}, { limit: 1 })).mirrors.map(({ id }) => id)).toEqual(['mr-fresh']);
    const requests = createRequestStore(database.kysely);
    expect(await requests.asked('mr-asked', 'key:key-1')).toBe(true);
    await database.close();
  });
});
