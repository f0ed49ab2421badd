import { createPublicKey, createPrivateKey, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startPostgres, type TestPostgres } from '../../test/fixtures/postgres.ts';
import { loadConfig } from '../config.ts';
import { type Database, openDatabase } from '../db/open.ts';
import { createPairingStore, type PairingStore } from '../db/pairings.ts';
import { createSealer } from '../lib/seal.ts';
import { createPairings, type Pairings, type PublicPair } from './pairing.ts';

const endpoint = 'https://seqera.example.com/api';
const second = 'https://other.example.com';
const endpoints = new Map([
  [endpoint, 'licence'],
  [second, 'another'],
]);
const key = randomBytes(32);
const sealer = createSealer([key]);
const hour = 3600 * 1000;

describe.each(['embedded', 'PostgreSQL'])('pairings, %s', (kind) => {
  let folder: string;
  let postgres: TestPostgres | undefined;
  let database: Database;
  let store: PairingStore;
  let time: number;
  const now = () => time;
  const create = (over: Partial<Parameters<typeof createPairings>[0]> = {}) =>
    createPairings({ endpoints, store, sealer, now, ...over });
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dray-pairings-'));
    postgres = kind === 'embedded' ? undefined : await startPostgres();
    const env = { DRAY_DATA_DIR: folder, ...(postgres && { DRAY_DATABASE_URL: postgres.url }) };
    database = await openDatabase(loadConfig(env, folder));
    store = createPairingStore(database.kysely);
  });
  afterAll(async () => {
    await database.close();
    await postgres?.stop();
    await rm(folder, { recursive: true });
  });
  beforeEach(async () => {
    await database.kysely.deleteFrom('pairings').execute();
    time = Date.UTC(2026, 10, 1);
  });

  /** Whether the private key on record belongs to the public key that was sent. */
  async function belongs(pairings: Pairings, { id, publicKey }: PublicPair): Promise<boolean> {
    const sent = createPublicKey({ key: Buffer.from(publicKey, 'base64'), format: 'der', type: 'spki' });
    const opened = await pairings.privateKey(id);
    return opened !== undefined && createPublicKey(opened).equals(sent);
  }

  it('makes an RSA-2048 pair, once for all sockets that open at once, and keeps it over a restart', async () => {
    const pairings = create();
    const [pair, ...others] = await Promise.all(Array.from({ length: 5 }, () => pairings.present(endpoint)));
    if (!pair) throw new Error('no pair');
    expect(others).toEqual(Array(4).fill(pair));
    const { asymmetricKeyType, asymmetricKeyDetails } = createPublicKey({
      key: Buffer.from(pair.publicKey, 'base64'),
      format: 'der',
      type: 'spki',
    });
    expect([asymmetricKeyType, asymmetricKeyDetails?.modulusLength]).toEqual(['rsa', 2048]);
    expect(await create().present(endpoint)).toEqual(pair);
    expect(await belongs(create(), pair)).toBe(true);
    expect((await pairings.present(second)).id).not.toBe(pair.id);
  });

  it('agrees with another process that makes one at the same moment', async () => {
    const pairs = await Promise.all([create(), create(), create()].map((each) => each.present(endpoint)));
    expect(new Set(pairs.map(({ id }) => id)).size).toBe(1);
    time += 25 * hour;
    const later = await Promise.all([create(), create()].map((each) => each.present(endpoint)));
    expect(new Set(later.map(({ id }) => id)).size).toBe(1);
    expect(later[0]?.id).not.toBe(pairs[0]?.id);
    expect((await store.list()).length).toBe(2);
  });

  it('writes no private key in clear', async () => {
    const { id } = await create().present(endpoint);
    const record = await store.get(id);
    expect(record?.privateKey).toMatch(/^v1\./);
    expect(() => createPrivateKey(record?.privateKey ?? '')).toThrow();
    expect(sealer.open(record?.privateKey ?? '', 'pairing:another')).toBeUndefined();
  });

  it('renews a pair that is older than a day when a socket opens; the old one opens packets for two more', async () => {
    const pairings = create();
    const old = await pairings.present(endpoint);
    time += 24 * hour;
    expect(await pairings.present(endpoint)).toEqual(old);
    time += 1;
    const young = await pairings.present(endpoint);
    expect(young.id).not.toBe(old.id);
    expect(await belongs(create(), old)).toBe(true);
    time += 24 * hour;
    expect(await pairings.isGood(old.id)).toBe(true);
    time += 1;
    // Its socket pairs anew while its packets can still be opened.
    expect([await pairings.isGood(old.id), await pairings.isGood(young.id)]).toEqual([false, true]);
    expect(await belongs(create(), old)).toBe(true);
    time += 24 * hour;
    expect(await create().privateKey(old.id)).toBeUndefined();
    expect(await pairings.isGood(young.id)).toBe(true);
    expect((await store.list()).map(({ id }) => id)).toEqual([young.id]);
  });

  it('says that a pair without a record is no good', async () => {
    const pairings = create();
    const { id } = await pairings.present(endpoint);
    expect(await pairings.isGood(id)).toBe(true);
    await database.kysely.deleteFrom('pairings').execute();
    expect(await pairings.isGood(id)).toBe(false);
    expect(await pairings.privateKey(id)).toBeUndefined();
  });

  it('seals anew what an old master key sealed, and makes a new pair where the key is lost', async () => {
    const pair = await create().present(endpoint);
    const fresh = randomBytes(32);
    const both = createSealer([fresh, key]);
    await create({ sealer: both }).reseal();
    const onlyFresh = create({ sealer: createSealer([fresh]) });
    expect(await belongs(onlyFresh, pair)).toBe(true);
    expect(await onlyFresh.present(endpoint)).toEqual(pair);

    const lost = create();
    await lost.reseal();
    expect(await lost.privateKey(pair.id)).toBeUndefined();
    const next = await lost.present(endpoint);
    expect(next.id).not.toBe(pair.id);
    expect(await belongs(lost, next)).toBe(true);
  });
});

describe('a try to pair', () => {
  const pairings = createPairings({ endpoints, store: {} as PairingStore, sealer });
  it.each([
    [endpoint, { service: 'tower', token: 'licence', endpoint }],
    [endpoint, { service: 'tower', token: 'licence', endpoint: 'HTTPS://Seqera.example.com:443/api/' }],
    [second, { service: 'tower', token: 'another', endpoint: second }],
    [undefined, { service: 'tower', token: 'another', endpoint }],
    [undefined, { service: 'tower', token: 'licence', endpoint: 'https://evil.example.com/api' }],
    [undefined, { service: 'tower', token: 'licence', endpoint: 'https://seqera.example.com' }],
    [undefined, { service: 'tower', token: 'licence', endpoint: 'https://u@seqera.example.com/api' }],
    [undefined, { service: 'tower', token: '', endpoint }],
    [undefined, { service: 'tower', token: 'licence', endpoint: '' }],
    [undefined, { service: 'tower', token: 'LICENCE', endpoint }],
    [undefined, { service: 'wave', token: 'licence', endpoint }],
  ])('is let in as %s with %j', (admitted, attempt) => {
    expect(pairings.admit(attempt)).toBe(admitted);
  });
});
