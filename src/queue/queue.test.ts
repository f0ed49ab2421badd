import { everything } from '../core/selection.ts';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { startPostgres, type TestPostgres } from '../../test/fixtures/postgres.ts';
import { loadConfig } from '../config.ts';
import { type Mirror, noProgress } from '../core/mirror.ts';
import { createMirrorStore } from '../db/mirrors.ts';
import { type Database, openDatabase } from '../db/open.ts';
import { openQueue, type Queue } from './queue.ts';

describe.each(['embedded', 'PostgreSQL'])('the queue, %s', (kind) => {
  let folder: string;
  let postgres: TestPostgres | undefined;
  let database: Database;
  let queue: Queue;
  const errors: Error[] = [];
  const open = async () => openQueue(database, 3600, (error) => errors.push(error));
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dray-queue-'));
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
    queue = await open();
  });
  afterEach(async () => {
    await queue.release();
    await queue.close();
    await sql`delete from pgboss.job`.execute(database.kysely);
    await sql`delete from mirrors`.execute(database.kysely);
    expect(errors.splice(0)).toEqual([]);
  });

  let count = 0;
  const newId = () => `mr-${String(++count).padStart(32, '0')}`;
  const enqueue = async () => {
    const id = newId();
    await queue.enqueue(id, database.kysely);
    return id;
  };
  const job = async (id: string) => {
    const found = await sql<{ state: string; late: number; retry_count: number }>`
      select state::text, retry_count, extract(epoch from start_after - now())::float8 as late
      from pgboss.job where singleton_key = ${id}`.execute(database.kysely);
    expect(found.rows.length).toBeLessThan(2);
    return found.rows[0];
  };
  const becomes = (id: string, state: string | undefined) =>
    vi.waitFor(async () => expect((await job(id))?.state).toBe(state), { timeout: 10_000 });
  const mirror = (id: string): Mirror => ({
    id,
    tenant: 'key:a',
    source: { registry: 'src.io', path: id, tag: '1' },
    target: { registry: 'dst.io', path: id, tag: '1' },
    digest: `sha256:${'a'.repeat(64)}`,
    selection: everything,
    state: 'queued',
    progress: noProgress,
    attempts: 0,
    createdAt: new Date(),
  });

  it('hands a job out again after the pause that its handler names, and completes it when none is named', async () => {
    const id = await enqueue();
    const seen: number[] = [];
    await queue.work(2, (mirrorId) => {
      expect(mirrorId).toBe(id);
      seen.push(performance.now());
      return Promise.resolve(seen.length < 3 ? 300 : undefined);
    });
    await becomes(id, 'completed');
    const [first = 0, second = 0, third = 0] = seen;
    for (const pause of [second - first, third - second]) {
      expect(pause).toBeGreaterThan(290);
      // The timer, not the next poll.
      expect(pause).toBeLessThan(1500);
    }
  });

  it('keeps no one from work while a job pauses', async () => {
    const [waiting, other] = [await enqueue(), await enqueue()];
    await queue.work(1, (id) => Promise.resolve(id === waiting ? 3_600_000 : undefined));
    await becomes(other, 'completed');
    expect(await job(waiting)).toMatchObject({ state: 'retry' });
    expect((await job(waiting))?.late).toBeGreaterThan(3500);
  });

  it('hands a job that pauses out at once when it is woken, and leaves a claimed one alone', async () => {
    const id = await enqueue();
    const gate = Promise.withResolvers<undefined>();
    let runs = 0;
    await queue.work(2, async () => {
      if (++runs === 1) return 3_600_000;
      await gate.promise;
      return undefined;
    });
    await becomes(id, 'retry');
    await queue.wake(id);
    await becomes(id, 'active');
    await queue.wake(id);
    await sleep(300);
    expect(runs).toBe(2);
    gate.resolve(undefined);
    await becomes(id, 'completed');
  });

  it('keeps one job for each mirror, whether it waits, pauses or is claimed', async () => {
    const id = await enqueue();
    await queue.enqueue(id, database.kysely);
    const gate = Promise.withResolvers<undefined>();
    let runs = 0;
    await queue.work(2, async () => {
      if (++runs === 1) return 3_600_000;
      await gate.promise;
      return undefined;
    });
    await becomes(id, 'retry');
    await queue.enqueue(id, database.kysely);
    await queue.wake(id);
    await becomes(id, 'active');
    await queue.enqueue(id, database.kysely);
    expect(await job(id)).toMatchObject({ state: 'active' });
    gate.resolve(undefined);
    await becomes(id, 'completed');
  });

  it('takes away a job that waits or pauses, and not one that is claimed', async () => {
    const [pausing, claimed] = [await enqueue(), await enqueue()];
    const gate = Promise.withResolvers<undefined>();
    await queue.work(2, async (id) => {
      if (id === pausing) return 3_600_000;
      await gate.promise;
      return undefined;
    });
    await becomes(pausing, 'retry');
    await becomes(claimed, 'active');
    const waiting = newId();
    await queue.remove(pausing, database.kysely);
    await queue.remove(claimed, database.kysely);
    expect(await job(pausing)).toBeUndefined();
    expect(await job(claimed)).toMatchObject({ state: 'active' });
    gate.resolve(undefined);
    await becomes(claimed, 'completed');
    await queue.release();
    await queue.enqueue(waiting, database.kysely);
    await queue.remove(waiting, database.kysely);
    expect(await job(waiting)).toBeUndefined();
  });

  it('does not pause a job that was claimed anew meanwhile by somebody else', async () => {
    const id = await enqueue();
    await queue.work(1, async () => {
      // What a claim after a missed heartbeat does.
      await sql`update pgboss.job set retry_count = retry_count + 1 where singleton_key = ${id}`.execute(
        database.kysely,
      );
      return 3_600_000;
    });
    await becomes(id, 'active');
    await sleep(500);
    expect(await job(id)).toMatchObject({ state: 'active' });
  });

  it('does not complete a job that it gave back and that was claimed anew before pg-boss settles it', async () => {
    // Claims a job in the very moment in which it is given back, in pg-boss's own words.
    await sql`create function claim_at_once() returns trigger language plpgsql as $$ begin
      new.state = 'active';
      if new.started_on is not null then new.retry_count = new.retry_count + 1; end if;
      new.started_on = now();
      new.heartbeat_on = now();
      return new;
    end $$`.execute(database.kysely);
    await sql`create trigger claim_at_once before update on pgboss.job_common for each row
      when (old.state = 'active' and new.state = 'retry') execute function claim_at_once()`.execute(
      database.kysely,
    );
    try {
      const id = await enqueue();
      let runs = 0;
      await queue.work(1, () => Promise.resolve(runs++ === 0 ? 0 : undefined));
      await vi.waitFor(() => expect(runs).toBe(1), { timeout: 10_000 });
      await sleep(500);
      expect(await job(id)).toMatchObject({ state: 'active' });
    } finally {
      await sql`drop function claim_at_once cascade`.execute(database.kysely);
    }
  });

  it('gives a job back when its handler rejects', async () => {
    const id = await enqueue();
    let runs = 0;
    await queue.work(1, () => (++runs === 1 ? Promise.reject(new Error('x')) : Promise.resolve(undefined)));
    await becomes(id, 'completed');
    expect(runs).toBe(2);
  });

  it('aborts what runs when it is released, and gives it back for the next process', async () => {
    const id = await enqueue();
    await queue.work(1, async (_, signal) => {
      // It may be released before this has begun.
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
      return 0;
    });
    await becomes(id, 'active');
    await queue.release();
    await becomes(id, 'retry');
    await queue.close();
    queue = await open();
    await queue.work(1, () => Promise.resolve(undefined));
    await becomes(id, 'completed');
  });

  it('makes a new job for a mirror under way that has none', async () => {
    const id = newId();
    await createMirrorStore(database.kysely).create(mirror(id), undefined, () => Promise.resolve());
    await queue.release();
    await queue.close();
    queue = await open();
    expect(await job(id)).toMatchObject({ state: 'created' });
  });

  it('keeps a wait that a registry has asked for over a restart', async () => {
    const store = createMirrorStore(database.kysely);
    const ids = [newId(), newId()];
    const [throttled = '', ready = ''] = ids;
    for (const id of ids)
      await store.create(mirror(id), undefined, (transaction) => queue.enqueue(id, transaction));
    const wait = { until: new Date(Date.now() + 3_600_000), host: 'src.io' };
    await queue.work(2, async (id) => {
      const claim = await store.claim(id, new Date());
      if (claim && id === throttled)
        await store.settle(claim, 'queued', { at: new Date(), wait, uncounted: true });
      return 3_600_000;
    });
    for (const id of ids) await becomes(id, 'retry');
    await queue.release();
    await queue.close();
    if (kind === 'embedded') {
      // A crash between the two statements: the record waits, and the job is still claimed.
      await sql`update pgboss.job set state = 'active', start_after = now()`.execute(database.kysely);
    }
    queue = await open();
    expect((await job(throttled))?.late).toBeGreaterThan(3500);
    if (kind === 'embedded') expect((await job(ready))?.late).toBeLessThan(1);
  });
});
