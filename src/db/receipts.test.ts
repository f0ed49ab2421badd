import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startPostgres, type TestPostgres } from '../../test/fixtures/postgres.ts';
import { loadConfig } from '../config.ts';
import { noProgress } from '../core/mirror.ts';
import { everything } from '../core/selection.ts';
import { createMirrorStore, type MirrorStore } from './mirrors.ts';
import { type Database, openDatabase } from './open.ts';
import { createReceiptKeyStore, type ReceiptKeyStore } from './receipt-keys.ts';
import { createReceiptStore, type ReceiptStore } from './receipts.ts';

describe.each(['embedded', 'PostgreSQL'])('the records of receipts, %s', (kind) => {
  let folder: string;
  let postgres: TestPostgres | undefined;
  let database: Database;
  let mirrors: MirrorStore;
  let receipts: ReceiptStore;
  let keys: ReceiptKeyStore;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dray-receipts-'));
    postgres = kind === 'embedded' ? undefined : await startPostgres();
    const env = { DRAY_DATA_DIR: folder, ...(postgres && { DRAY_DATABASE_URL: postgres.url }) };
    database = await openDatabase(loadConfig(env, folder));
    mirrors = createMirrorStore(database.kysely);
    receipts = createReceiptStore(database.kysely);
    keys = createReceiptKeyStore(database.kysely);
  });
  afterAll(async () => {
    await database.close();
    await postgres?.stop();
    await rm(folder, { recursive: true });
  });

  const at = new Date(1_800_000_000_000);
  let count = 0;
  const claimed = async () => {
    const path = `a/${++count}`;
    const mirror = await mirrors.create(
      {
        id: `mr-${count}`,
        tenant: 'key:a',
        source: { registry: 'src.io', path, tag: '1' },
        target: { registry: 'dst.io', path, tag: '1' },
        digest: `sha256:${'a'.repeat(64)}`,
        selection: everything,
        state: 'queued',
        progress: noProgress,
        attempts: 0,
        createdAt: at,
      },
      undefined,
      () => Promise.resolve(),
    );
    const claim = await mirrors.claim(mirror?.id ?? '', at);
    if (!claim) throw new Error('It can not be claimed.');
    return claim;
  };

  it('are written with the end of a mirror by who holds it, and by nobody else', async () => {
    const lost = await claimed();
    const { id } = lost.mirror;
    const current = await mirrors.claim(id, at);
    expect(await mirrors.settle(lost, 'done', { at, receipt: '{"lost":1}' })).toBe(false);
    expect(await receipts.get(id)).toBeUndefined();
    expect(current && (await mirrors.settle(current, 'done', { at, receipt: '{ "b": 1, "a":2 }' }))).toBe(
      true,
    );
    // Byte for byte: its digest is what a registry has it under.
    expect(await receipts.get(id)).toBe('{ "b": 1, "a":2 }');
    const without = await claimed();
    await mirrors.settle(without, 'done', { at });
    expect(await receipts.get(without.mirror.id)).toBeUndefined();
  });

  it('keep the first that was signed, and go with their mirror', async () => {
    const claim = await claimed();
    const { id } = claim.mirror;
    expect(await Promise.all([receipts.keep(id, 'first', at), receipts.keep(id, 'first', at)])).toEqual([
      'first',
      'first',
    ]);
    expect(await receipts.keep(id, 'second', at)).toBe('first');
    await mirrors.settle(claim, 'done', { at, receipt: 'third' });
    expect(await receipts.get(id)).toBe('first');
    await database.kysely.deleteFrom('mirrors').where('id', '=', id).execute();
    expect(await receipts.get(id)).toBeUndefined();
    expect(await receipts.keep(id, 'fourth', at)).toBeUndefined();
  });

  it('have one present key, whoever makes it first, and all that were', async () => {
    const key = (id: string, day: number) => ({
      id,
      publicKey: `public ${id}`,
      privateKey: `sealed ${id}`,
      createdAt: new Date(Date.UTC(2026, 0, day)),
    });
    expect(await keys.present()).toBeUndefined();
    const made = await Promise.all(['a', 'b', 'c'].map((id) => keys.replace(undefined, key(id, 1))));
    expect(made.filter(Boolean)).toEqual([true]);
    const first = await keys.present();
    expect(first).toEqual(key(first?.id ?? '', 1));
    const replaced = await Promise.all(['d', 'e'].map((id) => keys.replace(first?.id, key(id, 2))));
    expect(replaced.filter(Boolean)).toEqual([true]);
    const second = await keys.present();
    expect(['d', 'e']).toContain(second?.id);
    expect(await keys.replace(first?.id, key('f', 3))).toBe(false);
    const { id: firstId, publicKey, createdAt } = key(first?.id ?? '', 1);
    expect(await keys.list()).toEqual([
      second,
      { id: firstId, publicKey, createdAt, retiredAt: second?.createdAt },
    ]);

    const id = second?.id ?? '';
    await keys.reseal(id, 'wrong', 'anew');
    await keys.reseal(first?.id ?? '', `sealed ${first?.id}`, 'anew');
    expect((await keys.list()).map(({ privateKey }) => privateKey)).toEqual([`sealed ${id}`, undefined]);
    await keys.reseal(id, `sealed ${id}`, 'anew');
    expect((await keys.present())?.privateKey).toBe('anew');
  });
});
