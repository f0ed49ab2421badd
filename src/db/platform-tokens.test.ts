import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startPostgres, type TestPostgres } from '../../test/fixtures/postgres.ts';
import { loadConfig } from '../config.ts';
import { type Database, openDatabase } from './open.ts';
import { createTokenStore, type TokenStore } from './platform-tokens.ts';

describe.each(['embedded', 'PostgreSQL'])('the records of tokens, %s', (kind) => {
  let folder: string;
  let postgres: TestPostgres | undefined;
  let database: Database;
  let store: TokenStore;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dray-tokens-'));
    postgres = kind === 'embedded' ? undefined : await startPostgres();
    const env = { DRAY_DATA_DIR: folder, ...(postgres && { DRAY_DATABASE_URL: postgres.url }) };
    database = await openDatabase(loadConfig(env, folder));
    store = createTokenStore(database.kysely);
  });
  afterAll(async () => {
    await database.close();
    await postgres?.stop();
    await rm(folder, { recursive: true });
  });

  it('keep the last, seal it anew only while it is the same, and go when they are old', async () => {
    const at = (day: number) => new Date(Date.UTC(2026, 0, day));
    await Promise.all([store.put('a', 'a1', at(1)), store.put('b', 'b1', at(1))]);
    await store.put('a', 'a2', at(3));
    await store.reseal('a', 'a1', 'wrong');
    await store.reseal('b', 'b1', 'b2');
    expect(await store.list()).toEqual([
      { id: 'a', sealed: 'a2' },
      { id: 'b', sealed: 'b2' },
    ]);
    await store.sweep(at(2));
    expect([await store.get('a'), await store.get('b')]).toEqual(['a2', undefined]);
  });
});
