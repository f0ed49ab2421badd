import { createPublicKey, randomBytes, sign, verify } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../config.ts';
import { type Database, openDatabase } from '../db/open.ts';
import { createReceiptKeyStore, type ReceiptKeyStore } from '../db/receipt-keys.ts';
import { createSealer } from '../lib/seal.ts';
import { createSigningKeys, keyIdOf } from './signing.ts';

describe('the keys of receipts', () => {
  let folder: string;
  let database: Database;
  let store: ReceiptKeyStore;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dray-signing-'));
    database = await openDatabase(loadConfig({ DRAY_DATA_DIR: folder }, folder));
    store = createReceiptKeyStore(database.kysely);
  });
  afterAll(async () => {
    await database.close();
    await rm(folder, { recursive: true });
  });
  beforeEach(() => database.kysely.deleteFrom('receipt_keys').execute());

  const master = randomBytes(32);
  const lost: string[] = [];
  const service = (...keys: Buffer[]) =>
    createSigningKeys({
      store,
      sealer: createSealer(keys.length > 0 ? keys : [master]),
      onLost: (id) => lost.push(id),
    });
  const ids = async () => (await store.list()).map(({ id }) => id);

  it('are made when the first is wanted, one for all services, and stay', async () => {
    const made = await Promise.all([service(), service(), service()].map((each) => each.present()));
    const [first] = made;
    expect(new Set(made.map(({ keyid }) => keyid)).size).toBe(1);
    const [published, ...others] = await service().list();
    expect(others).toEqual([]);
    const publicKey = createPublicKey(published?.publicKey ?? '');
    expect(published).toEqual({
      id: keyIdOf(publicKey),
      publicKey: expect.stringContaining('BEGIN PUBLIC KEY') as string,
      createdAt: expect.any(Date) as Date,
    });
    const data = Buffer.from('x');
    for (const { privateKey } of made)
      expect(verify('sha256', data, publicKey, sign('sha256', data, privateKey))).toBe(true);
    expect((await service().present()).keyid).toBe(first?.keyid);
    // On record as nobody can read it.
    expect((await store.present())?.privateKey).toMatch(/^v1\.[0-9a-f]{8}\.[\w-]+$/);
  });

  it('are rotated for every service at once, and the old one keeps its public half alone', async () => {
    const [here, there] = [service(), service()];
    const { keyid: old } = await here.present();
    await there.present();
    const next = await there.rotate();
    expect((await here.present()).keyid).toBe(next.id);
    expect(await here.list()).toEqual([
      next,
      expect.objectContaining({ id: old, retiredAt: next.createdAt }),
    ]);
    expect((await store.list()).map(({ privateKey }) => privateKey !== undefined)).toEqual([true, false]);
    const both = await Promise.all([here.rotate(), there.rotate()]);
    expect((await ids()).slice(0, 2).sort()).toEqual(both.map(({ id }) => id).sort());
    expect((await store.list()).filter(({ retiredAt }) => !retiredAt).length).toBe(1);
  });

  it('are sealed anew under a new master key', async () => {
    const { keyid } = await service().present();
    const renewed = randomBytes(32);
    await service(renewed, master).reseal();
    expect((await service(renewed).present()).keyid).toBe(keyid);
    expect(lost).toEqual([]);
  });

  it('are replaced when the master key is lost, which is told once, and stay published', async () => {
    const { keyid } = await service().present();
    const other = service(randomBytes(32));
    await other.reseal();
    const fresh = await other.present();
    expect(fresh.keyid).not.toBe(keyid);
    expect((await other.present()).keyid).toBe(fresh.keyid);
    expect(lost.splice(0)).toEqual([keyid]);
    expect(await ids()).toEqual([fresh.keyid, keyid]);
  });
});
