import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startPostgres, type TestPostgres } from '../../test/fixtures/postgres.ts';
import { loadConfig } from '../config.ts';
import { MirrorError } from '../core/errors.ts';
import { type Mirror, noProgress } from '../core/mirror.ts';
import { parsePrefix } from '../core/reference.ts';
import { everything } from '../core/selection.ts';
import type { MirrorFilter, MirrorPage } from './list.ts';
import { createMirrorStore, type MirrorStore } from './mirrors.ts';
import { type Database, openDatabase } from './open.ts';
import { createRequestStore } from './requests.ts';

describe.each(['embedded', 'PostgreSQL'])('the records of mirrors, %s', (kind) => {
  let folder: string;
  let postgres: TestPostgres | undefined;
  let database: Database;
  let store: MirrorStore;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dray-db-'));
    postgres = kind === 'embedded' ? undefined : await startPostgres();
    const env = { DRAY_DATA_DIR: folder, ...(postgres && { DRAY_DATABASE_URL: postgres.url }) };
    database = await openDatabase(loadConfig(env, folder));
    store = createMirrorStore(database.kysely);
  });
  afterAll(async () => {
    await database.close();
    await postgres?.stop();
    await rm(folder, { recursive: true });
  });

  let count = 0;
  const mirror = (values: Partial<Mirror> = {}): Mirror => {
    const path = `a/${++count}`;
    return {
      id: `mr-${String(count).padStart(32, '0')}`,
      tenant: 'key:a',
      source: { registry: 'src.io', path, tag: '1' },
      target: { registry: 'dst.io', path, tag: '1' },
      digest: `sha256:${'a'.repeat(64)}`,
      selection: everything,
      state: 'queued',
      progress: noProgress,
      attempts: 0,
      createdAt: new Date(1_700_000_000_000 + count),
      ...values,
    };
  };
  const nothing = () => Promise.resolve();
  const at = new Date(1_800_000_000_000);
  const created = async (values?: Partial<Mirror>) => {
    const made = mirror(values);
    expect(await store.create(made, undefined, nothing)).toEqual(made);
    return made;
  };
  const claimed = async (id: string) => {
    const claim = await store.claim(id, at);
    if (!claim) throw new Error(`${id} can't be claimed`);
    return claim;
  };

  it('gives back what it was given', async () => {
    const digest = `sha256:${'b'.repeat(64)}` as const;
    const pinned = await created({
      source: { registry: 'src.io', path: 'p', digest },
      target: { registry: 'dst.io', path: 'p', digest },
      digest,
    });
    expect(await store.get(pinned.id)).toEqual(pinned);
    expect(await store.get('mr-none')).toBeUndefined();
  });

  it('joins whoever asks for what is under way, and enqueues once', async () => {
    const first = await created();
    let enqueued = 0;
    const joined = await store.create(
      { ...mirror(), source: first.source, target: first.target },
      undefined,
      async () => {
        enqueued++;
      },
    );
    expect([joined?.id, enqueued]).toEqual([first.id, 0]);
  });

  it('records nothing when the job can not be enqueued', async () => {
    const made = mirror();
    const failing = () => Promise.reject(new MirrorError('disk_full', 'x'));
    await expect(store.create(made, undefined, failing)).rejects.toMatchObject({ code: 'disk_full' });
    expect(await store.get(made.id)).toBeUndefined();
  });

  it('lets the holder of the last claim settle it, and nobody else', async () => {
    const { id } = await created();
    const lost = await claimed(id);
    const current = await claimed(id);
    expect(current.mirror).toMatchObject({ state: 'copying', attempts: 1 });
    expect(await store.settle(lost, 'queued', { at })).toBe(false);
    expect(await store.progress(lost, 'copying', { ...noProgress, bytesDone: 99 })).toBe(false);
    expect((await store.get(id))?.progress.bytesDone).toBe(0);
    await store.appendLog(lost, 'a');
    await store.appendLog(current, 'b\0');
    expect(await store.log(id)).toBe('b\ufffd');
    expect(await store.settle(current, 'done', { at, exitCode: 0 })).toBe(true);
    expect(await store.settle(current, 'failed', { at })).toBe(false);
    expect(await store.get(id)).toMatchObject({ state: 'done', exitCode: 0, finishedAt: at });
    expect(await store.claim(id, at)).toBeUndefined();
  });

  it('knows at a cancellation of who joins in the same instant, or tells them', async () => {
    const failure = new MirrorError('cancelled', 'x').toFailure();
    const requests = createRequestStore(database.kysely);
    const ask = (mirrorId: string, tenant: string) => {
      const { digest, createdAt } = mirror();
      const about = { image: 'a', target: 'b', digest, cached: false, dryRun: false, createdAt };
      return requests.add({ id: `r-${mirrorId}-${tenant}`, mirrorId, tenant, ...about });
    };
    const { id } = await created();
    expect(await ask(id, 'key:a')).toBe(true);
    let joined: Promise<boolean> | undefined;
    const unqueue = async () => {
      joined = ask(id, 'key:b');
      // As long as this transaction is open the other can't go on.
      expect(await Promise.race([joined, sleep(200, 'waits')])).toBe('waits');
    };
    expect(await store.cancel(id, { failure, at, tenant: 'key:a', unqueue })).toBe('cancelled');
    expect(await joined).toBe(false);
    expect(await requests.asked(id, 'key:b')).toBe(false);
    expect(await store.get(id)).toMatchObject({ state: 'cancelled', failure: { code: 'cancelled' } });

    const other = await created();
    expect(await ask(other.id, 'key:b')).toBe(true);
    const alone = { failure, at, tenant: 'key:a', unqueue: nothing };
    expect(await store.cancel(other.id, alone)).toBe('shared');
    expect(await store.cancel(other.id, { failure, at, unqueue: nothing })).toBe('cancelled');
    expect(await store.cancel(other.id, alone)).toBe('ended');
  });

  it('does not count a try that was stopped', async () => {
    const { id } = await created();
    await store.settle(await claimed(id), 'queued', { at, uncounted: true });
    expect(await store.get(id)).toMatchObject({ state: 'queued', attempts: 0 });
    expect((await claimed(id)).mirror.attempts).toBe(1);
    // Its process has died: whoever claims it goes on with the same try.
    const next = await claimed(id);
    expect(next.mirror.attempts).toBe(1);
    await store.settle(next, 'queued', { at });
    expect((await claimed(id)).mirror.attempts).toBe(2);
  });

  const idsOf = ({ mirrors }: MirrorPage) => mirrors.map(({ id }) => id);

  it('lists the newest first, page by page, whatever comes and goes meanwhile', async () => {
    const ids = [];
    for (let n = 0; n < 6; n++) ids.unshift((await created()).id);
    const first = await store.list({ source: { registry: 'src.io' } }, { limit: 2 });
    expect(idsOf(first)).toEqual(ids.slice(0, 2));
    await created();
    // The row that the next page goes on behind, and the one that it would begin with.
    await database.kysely.deleteFrom('mirrors').where('id', 'in', ids.slice(1, 3)).execute();
    const second = await store.list({}, { limit: 2, cursor: first.next ?? '' });
    expect(idsOf(second)).toEqual(ids.slice(3, 5));
    const all = await store.list({}, { limit: 500 });
    expect(all.next).toBeUndefined();
    const lastId = all.mirrors.at(-1)?.id;
    let [cursor, last] = [second.next, undefined as string | undefined];
    while (cursor !== undefined) {
      const page: MirrorPage = await store.list({}, { limit: 1, cursor });
      [cursor, last] = [page.next, page.mirrors.at(-1)?.id];
    }
    expect(last).toBe(lastId);
  });

  it('lists by state, place, digest and time, and by all of them at once', async () => {
    const of = (path: string, tag: string, createdAt: Date, hex: string) => ({
      source: { registry: 'from.io', path, tag },
      target: { registry: 'to.io', path: `acme/${path}`, tag },
      digest: `sha256:${hex.repeat(64)}` as const,
      createdAt,
    });
    const day = (n: number) => new Date(Date.UTC(2030, 0, n));
    const { id: app } = await created(of('team_a/app', '1', day(1), 'd'));
    const { id: under } = await created(of('team_a/app/debug', '1', day(2), 'e'));
    const { id: other } = await created(of('teamxa/app', '2', day(3), 'd'));
    await store.settle(await claimed(under), 'failed', { at });
    const list = async (filter: MirrorFilter) => idsOf(await store.list(filter, { limit: 10 }));
    const source = (text: string) => list({ source: parsePrefix(text) });
    const target = (text: string) => list({ target: parsePrefix(text) });
    expect(await source('from.io')).toEqual([other, under, app]);
    expect(await source('to.io')).toEqual([]);
    // A `_` stands for itself, and a part of a name is no place.
    expect(await source('from.io/team_a')).toEqual([under, app]);
    expect(await source('from.io/team')).toEqual([]);
    expect(await source('from.io/team_a/app')).toEqual([under, app]);
    expect(await source('from.io/team_a/app:1')).toEqual([app]);
    expect(await target('to.io/acme')).toEqual([other, under, app]);
    expect(await target('to.io/acme/teamxa/app:2')).toEqual([other]);
    expect(await target('to.io/acme/teamxa/app:1')).toEqual([]);
    const here = { source: { registry: 'from.io' } };
    expect(await list({ ...here, states: ['failed'] })).toEqual([under]);
    expect(await list({ ...here, states: ['failed', 'queued'] })).toEqual([other, under, app]);
    expect(await list({ digest: `sha256:${'d'.repeat(64)}` })).toEqual([other, app]);
    expect(await list({ since: day(2) })).toEqual([other, under]);
    expect(await list({ since: day(1), until: day(3) })).toEqual([under, app]);
    expect(await list({ ...here, digest: `sha256:${'d'.repeat(64)}`, until: day(3) })).toEqual([app]);
  });

  it('knows which was asked for later when the clock has been set back meanwhile', async () => {
    const before = await created({ createdAt: new Date(1_900_000_000_000) });
    const digest = `sha256:${'c'.repeat(64)}` as const;
    const after = await created({ ...before, id: `mr-${'c'.repeat(32)}`, digest, createdAt: at });
    await store.settle(await claimed(after.id), 'done', { at });
    expect(await store.superseded(before)).toBe(true);
    expect(await store.superseded(after)).toBe(false);
    await store.settle(await claimed(before.id), 'done', { at });
    const newest = await store.list({}, { limit: 1 });
    expect(idsOf(newest)).toEqual([after.id]);
    expect((await store.atTarget(after.target)).map(({ id }) => id)).toEqual([after.id]);
    expect(idsOf(await store.list({}, { limit: 1, cursor: newest.next ?? '' }))).toEqual([before.id]);
  });

  it('refuses the same data folder to a second process', async () => {
    // Another open file, as another process has it.
    const again = openDatabase(loadConfig({ DRAY_DATA_DIR: folder }, folder));
    await expect(again).rejects.toThrow(/is in use/);
  });
});
