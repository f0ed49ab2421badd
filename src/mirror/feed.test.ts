import { everything } from '../core/selection.ts';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startPostgres, type TestPostgres } from '../../test/fixtures/postgres.ts';
import { loadConfig } from '../config.ts';
import { type Mirror, noProgress } from '../core/mirror.ts';
import { createEventStore, type LayerChange } from '../db/events.ts';
import { createMirrorStore, type MirrorStore } from '../db/mirrors.ts';
import { type Database, openDatabase } from '../db/open.ts';
import { createRequestStore, type RequestStore } from '../db/requests.ts';
import { createHub, type Hub } from './events.ts';
import { createFeeds, type Feeds, type Told } from './feed.ts';

const at = new Date(1_800_000_000_000);
const digest = `sha256:${'a'.repeat(64)}` as const;
const layer = (n: number, state: LayerChange['state']): LayerChange => ({
  digest: `sha256:${String(n).repeat(64)}`,
  size: n,
  state,
});
const bytes = (bytesDone: number) => ({ layersDone: 0, layersTotal: 3, bytesDone, bytesTotal: 100 });

describe.each(['embedded', 'PostgreSQL'])('the feeds, %s', (kind) => {
  let folder: string;
  let postgres: TestPostgres | undefined;
  let database: Database;
  let mirrors: MirrorStore;
  let requests: RequestStore;
  let hub: Hub;
  let feeds: Feeds;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dray-feed-'));
    postgres = kind === 'embedded' ? undefined : await startPostgres();
    const env = { DRAY_DATA_DIR: folder, ...(postgres && { DRAY_DATABASE_URL: postgres.url }) };
    database = await openDatabase(loadConfig(env, folder));
    hub = createHub();
    mirrors = createMirrorStore(database.kysely, hub.poke);
    requests = createRequestStore(database.kysely, hub.poke);
    feeds = createFeeds({
      ...{ mirrors, requests, hub, events: createEventStore(database.kysely) },
      shared: postgres !== undefined,
      beat: 300,
    });
  });
  afterAll(async () => {
    await database.close();
    await postgres?.stop();
    await rm(folder, { recursive: true });
  });

  let count = 0;
  async function create(tenant = 'key:a'): Promise<Mirror> {
    const path = `a/${++count}`;
    const mirror: Mirror = {
      ...{
        id: `mr-${String(count).padStart(32, '0')}`,
        tenant,
        digest,
        selection: everything,
        state: 'queued',
        attempts: 0,
      },
      source: { registry: 'src.io', path, tag: '1' },
      target: { registry: 'dst.io', path, tag: '1' },
      progress: noProgress,
      createdAt: new Date(),
    };
    await mirrors.create(mirror, undefined, () => Promise.resolve());
    return mirror;
  }
  async function claim(id: string) {
    const claimed = await mirrors.claim(id, at);
    if (!claimed) throw new Error(`${id} can't be claimed`);
    return claimed;
  }
  const ask = ({ id: mirrorId }: Mirror, tenant: string) =>
    requests.add({
      ...{ id: `${Date.now().toString(16)}${++count}`, mirrorId, tenant, image: 'i', target: 't', digest },
      ...{ cached: false, dryRun: false, createdAt: new Date() },
    });
  const brief = ({ event }: Told<unknown>) =>
    event?.type === 'state'
      ? event.state
      : event?.type === 'layer'
        ? `${event.size} ${event.state}`
        : event && `${event.phase ?? ''} ${event.progress.bytesDone}`;

  /** Reads until something fits; the signal ends the stream then. */
  async function read<P>(
    open: (signal: AbortSignal) => AsyncGenerator<Told<P>>,
    last: (told: Told<P>) => boolean = () => false,
  ): Promise<Told<P>[]> {
    const stop = new AbortController();
    const all: Told<P>[] = [];
    for await (const told of open(stop.signal)) {
      all.push(told);
      if (last(told)) stop.abort();
    }
    return all;
  }
  const whole = async (id: string, after?: number) =>
    (await read((signal) => feeds.ofMirror(id, after, signal))).flatMap((told) => brief(told) ?? []);

  it('tell each layer once, whatever the tries, and nothing of a claim that was lost', async () => {
    const { id } = await create();
    const lost = await claim(id);
    const first = await claim(id);
    expect(await mirrors.progress(lost, 'copying', bytes(99), [layer(9, 'done')])).toBe(false);
    const told = [layer(1, 'started'), layer(1, 'done'), layer(2, 'started')];
    await mirrors.progress(first, 'copying', bytes(1), told);
    // As after a write whose outcome was not known.
    await mirrors.progress(first, 'copying', bytes(1), told);
    await mirrors.settle(first, 'queued', { at, wait: { until: at, host: 'src.io' } });
    const second = await claim(id);
    const again = [layer(1, 'skipped'), layer(2, 'started'), layer(2, 'done'), layer(3, 'mounted')];
    await mirrors.progress(second, 'copying', bytes(100), again);
    await mirrors.settle(second, 'done', { at });
    expect(await whole(id)).toEqual([
      ...['queued', 'copying', 'copying', '1 started', '1 done', '2 started', 'queued', 'copying'],
      ...['2 done', '3 mounted', ' 100', 'done'],
    ]);
  });

  it('wake when something is written, never take a step back, and tell the last step before the end', async () => {
    const { id } = await create();
    const steps: (() => Promise<unknown>)[] = [];
    const seen: (string | undefined)[] = [];
    const { signal } = new AbortController();
    let held = await claim(id);
    steps.push(
      () => mirrors.progress(held, 'copying', bytes(10)),
      () => mirrors.progress(held, 'copying', bytes(20)),
      async () => {
        await mirrors.settle(held, 'queued', { at });
        held = await claim(id);
        // A writer that knows nothing of the try before. It is not told: the next step is that of a stream at rest.
        await mirrors.progress(held, 'copying', bytes(5));
      },
      () => mirrors.progress(held, 'copying', bytes(30)),
      async () => {
        await mirrors.progress(held, 'tagging', bytes(100));
        await mirrors.settle(held, 'done', { at });
      },
    );
    for await (const told of feeds.ofMirror(id, undefined, signal)) {
      seen.push(brief(told));
      if (told.event?.type === 'progress' || !told.event) await steps.shift()?.();
    }
    const numbers = seen.flatMap((text) => (text?.includes(' ') ? Number(text.split(' ')[1]) : []));
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    expect(seen.filter((text) => text !== undefined).slice(-2)).toEqual([
      expect.stringMatching(/ 100$/),
      'done',
    ]);
    expect(steps).toEqual([]);
  });

  it('say that they are alive when there is nothing to tell, and leave no listener behind', async () => {
    const { id } = await create();
    const idle = <P>({ event, place }: Told<P>) => event === undefined && place === undefined;
    const one = await read((signal) => feeds.ofMirror(id, undefined, signal), idle);
    expect(one.map((told) => brief(told))).toEqual(['queued', ' 0', undefined]);
    let places = 0;
    const all = await read(
      (signal) => feeds.ofCaller({ tenant: 'key:nobody', admin: false }, undefined, signal),
      ({ place }) => place !== undefined && ++places === 2,
    );
    expect(all.map((told) => brief(told))).toEqual([undefined, undefined]);
    // A reader who goes away in the middle.
    for await (const told of feeds.ofMirror(id, undefined, new AbortController().signal)) {
      expect(told.event).toBeDefined();
      break;
    }
    expect(hub.size()).toBe(0);
  });

  it('of a mirror that ended before there were events tell its end, and of one that is gone nothing', async () => {
    const { id } = await create();
    await mirrors.settle(await claim(id), 'done', { at });
    await database.kysely.deleteFrom('events').where('mirror_id', '=', id).execute();
    expect(await whole(id)).toEqual(['done']);
    expect(await whole(id, 1)).toEqual([]);
    expect(await whole('mr-none')).toEqual([]);
  });

  it('tell somebody who joins a mirror how it is, though its events were before', async () => {
    const mirror = await create();
    const held = await claim(mirror.id);
    const own = { tenant: 'key:late', admin: false };
    const seen: string[] = [];
    const stop = new AbortController();
    for await (const told of feeds.ofCaller(own, undefined, stop.signal)) {
      const text = brief(told);
      if (text === undefined && seen.length === 0) {
        await ask(mirror, own.tenant);
        // An event that tells no state.
        await mirrors.progress(held, 'copying', bytes(7), [layer(1, 'started')]);
      }
      if (text !== undefined) seen.push(text);
      if (text === 'copying') await mirrors.settle(held, 'failed', { at });
      if (text === 'failed') stop.abort();
    }
    expect(seen.filter((text) => !text.includes(' '))).toEqual(['copying', 'failed']);
    // And on coming again at once, nothing of other tenants.
    const others = await read(
      (signal) => feeds.ofCaller({ tenant: 'key:other', admin: false }, { xid: '0', id: 0 }, signal),
      ({ event, place }) => event === undefined && place !== undefined,
    );
    expect(others.filter(({ event }) => event)).toEqual([]);
  });

  it('go on behind every event, however little is read at once', async () => {
    const made = await Promise.all(Array.from({ length: 30 }, () => create('key:many')));
    await Promise.all(made.map(async ({ id }) => mirrors.settle(await claim(id), 'failed', { at })));
    const from = { xid: '0', id: 0 };
    const caller = { tenant: 'key:many', admin: false };
    let ends = 0;
    const all = await read(
      (signal) => feeds.ofCaller(caller, from, signal),
      ({ event }) => event?.type === 'state' && event.state === 'failed' && ++ends === 30,
    );
    const told = all.filter(({ event }) => event?.type === 'state');
    expect(told.length).toBe(90);
    for (const n of [0, 1, 44, 88]) {
      const rest = await read(
        (signal) => feeds.ofCaller(caller, told[n]?.place, signal),
        ({ place }) => place?.id === told.at(-1)?.place?.id,
      );
      expect(rest.filter(({ event }) => event?.type === 'state').map(({ event }) => event)).toEqual(
        told.slice(n + 1).map(({ event }) => event),
      );
    }
    expect(await feeds.isPast({ xid: '99999999', id: 0 })).toBe(false);
    expect(await feeds.isPast(told[0]?.place ?? from)).toBe(true);
  });

  it.runIf(kind === 'PostgreSQL')('skip nothing that is committed late', async () => {
    const [early, late] = [await create('key:slow'), await create('key:slow')];
    const caller = { tenant: 'key:slow', admin: false };
    const written = Promise.withResolvers<undefined>();
    const commit = Promise.withResolvers<undefined>();
    // Its id is the lower one, and it is committed after the other.
    const slow = mirrors.create(
      { ...late, id: `${late.id.slice(0, -3)}fff`, target: { ...late.target, path: 'late' } },
      undefined,
      async () => {
        written.resolve(undefined);
        await commit.promise;
      },
    );
    await written.promise;
    const seen: string[] = [];
    const stop = new AbortController();
    let quiet = 0;
    for await (const { event } of feeds.ofCaller(caller, undefined, stop.signal)) {
      if (event === undefined && ++quiet === 1) await mirrors.settle(await claim(early.id), 'failed', { at });
      // It has looked, and waits for the one that is under way.
      if (event === undefined && quiet === 2) {
        expect(seen).toEqual([]);
        commit.resolve(undefined);
        await slow;
      }
      if (event?.type === 'state') seen.push(`${event.mirrorId.slice(-3)} ${event.state}`);
      if (event?.type === 'state' && event.state === 'failed') stop.abort();
    }
    expect(seen[0]).toBe('fff queued');
    expect(seen.length).toBe(3);
  });
});
