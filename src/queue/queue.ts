import { type Kysely, sql } from 'kysely';
import { fromKysely, PgBoss } from 'pg-boss';
import { type Database, poolOptions } from '../db/open.ts';
import type { Schema } from '../db/schema.ts';

/**
 * Does one job. @returns milliseconds after which it is to be claimed again; undefined when it is finished. A rejection
 * gives the job back, to be claimed again after a growing delay.
 */
export type Handler = (mirrorId: string, signal: AbortSignal) => Promise<number | undefined>;

/** Our few verbs over pg-boss. A job's payload is a mirror's id and nothing else. */
export interface Queue {
  /** Adds a job in the given transaction; one job per mirror at a time, queued or claimed. */
  enqueue(mirrorId: string, transaction: Kysely<Schema>): Promise<void>;
  /** Takes away the job of a mirror that nobody works on. */
  remove(mirrorId: string, transaction: Kysely<Schema>): Promise<void>;
  /** Has a job that was given back claimed now. */
  wake(mirrorId: string): Promise<void>;
  /** Starts claiming, at most `concurrency` jobs at once in this process. */
  work(concurrency: number, handler: Handler): Promise<void>;
  /** Claims no more, aborts what runs, and waits until it has been given back. Jobs can still be added. */
  release(): Promise<void>;
  close(): Promise<void>;
}

const name = 'mirror';

/** A claimed job as pg-boss hands it out. */
interface Job {
  id: string;
  retryCount: number;
  data: { mirrorId: string };
}

/**
 * How long a claim outlives its process: pg-boss's lowest heartbeat is 10 s, and its monitor adds up to as
 * much again. The sole owner of an embedded database does not wait for it (see `requeue`).
 */
const heartbeatSeconds = 15;

/** Seconds between a copy's own time limit and the end of its job, and milliseconds between two rescues. */
const expiryMargin = 600;
const rescueEvery = 20_000;
/** Milliseconds that one of Node's timers can take. */
const longestTimer = 2 ** 31 - 1;

/** Starts the queue in the given database. `onError` hears of failures that no caller waits for. */
export async function openQueue(
  database: Database,
  timeLimit: number,
  onError: (error: Error) => void,
): Promise<Queue> {
  const boss = new PgBoss({
    ...(database.queueDatabase
      ? { db: database.queueDatabase, backend: 'pglite' as const }
      : { connectionString: database.url, max: 5, application_name: 'dray-queue', ...poolOptions }),
    schedule: false,
    useListenNotify: true,
    monitorIntervalSeconds: 10,
    superviseIntervalSeconds: 10,
    openTelemetry: { enabled: false },
  });
  boss.on('error', onError);
  await boss.start();
  const settings = {
    heartbeatSeconds,
    // Attempts are counted by mirror/, where the reason is known; the queue only spaces them.
    retryLimit: 1000,
    retryDelay: 1,
    retryBackoff: true,
    retryDelayMax: 30,
    // Never before the worker's own limit: what expires here is a worker that hangs.
    expireInSeconds: Math.ceil(timeLimit) + expiryMargin,
    retentionSeconds: 10 * 365 * 86_400,
    deleteAfterSeconds: 3600,
  };
  // The first creates it, the second brings an old one up to the present settings.
  await boss.createQueue(name, { policy: 'exclusive', notify: true, ...settings });
  await boss.updateQueue(name, settings);
  if (database.queueDatabase) await requeue(database.queueDatabase);
  const stopping = new AbortController();
  const workers: string[] = [];
  const waiting = new Map<string, NodeJS.Timeout>();

  /**
   * Gives a claimed job back, to be claimed again after so many milliseconds; one that was claimed anew meanwhile is
   * another's. What tells claims apart is retry_count: pg-boss adds 1 at a claim only where started_on is set, and
   * would take a claim that follows at once for this one, and complete it.
   */
  async function postpone({ id, retryCount, data: { mirrorId } }: Job, pause: number): Promise<void> {
    const { numAffectedRows } = await sql`update pgboss.job set state = 'retry', started_on = null,
      retry_count = retry_count + 1, start_after = now() + ${`${Math.round(pause)} milliseconds`}::interval
      where name = ${name} and id = ${id}::uuid and state = 'active' and retry_count = ${retryCount}`.execute(
      database.kysely,
    );
    if (!numAffectedRows || pause > longestTimer || stopping.signal.aborted) return;
    // Sooner than the next poll, and true to its length when the clock is set back meanwhile.
    const timer = setTimeout(() => void wake(mirrorId).catch(onError), pause);
    clearTimeout(waiting.get(mirrorId));
    waiting.set(mirrorId, timer.unref());
  }

  async function wake(mirrorId: string): Promise<void> {
    clearTimeout(waiting.get(mirrorId));
    waiting.delete(mirrorId);
    await sql`update pgboss.job set start_after = now()
      where name = ${name} and singleton_key = ${mirrorId} and state = 'retry'`.execute(database.kysely);
    for (const worker of workers) boss.notifyWorker(worker);
  }

  /** A mirror under way whose job is gone, for whatever reason, would wait for ever: it gets a new one. */
  async function rescue(): Promise<void> {
    const lost = await sql<{
      id: string;
    }>`select id from mirrors where state in ('queued', 'copying') and not exists
      (select from pgboss.job where name = ${name} and singleton_key = mirrors.id and state < 'completed')`.execute(
      database.kysely,
    );
    for (const { id } of lost.rows) await boss.send(name, { mirrorId: id }, { singletonKey: id });
    // Further off than pg-boss puts a job by itself, for no mirror that waits: the clock has been set back since.
    await sql`update pgboss.job set start_after = now()
      where name = ${name} and state in ('created', 'retry') and start_after > now() + interval '60 s'
        and not exists (select from mirrors where id = singleton_key and wait_until is not null)`.execute(
      database.kysely,
    );
  }
  await rescue();
  const rescuer = setInterval(() => void rescue().catch(onError), rescueEvery);
  rescuer.unref();

  return {
    async enqueue(mirrorId, transaction) {
      await boss.send(name, { mirrorId }, { singletonKey: mirrorId, db: fromKysely(transaction) });
    },
    async remove(mirrorId, transaction) {
      await sql`delete from pgboss.job
        where name = ${name} and singleton_key = ${mirrorId} and state in ('created', 'retry')`.execute(
        transaction,
      );
    },
    wake,
    async work(concurrency, handler) {
      for (let n = 0; n < concurrency; n++) {
        const worker: { id?: string } = {};
        worker.id = await boss.work<{ mirrorId: string }>(
          name,
          // Notifications bring new jobs; the poll is for those whose delay has passed.
          { pollingIntervalSeconds: 1, notifyPollingIntervalSeconds: 2 },
          async ([job]) => {
            try {
              if (!job) return;
              const pause = await handler(job.data.mirrorId, AbortSignal.any([job.signal, stopping.signal]));
              // pg-boss then finds nothing to complete.
              if (pause !== undefined) await postpone(job, pause);
            } finally {
              // A worker that was not notified while it was busy sleeps until its next poll, however long the
              // queue: look for the next job at once.
              if (worker.id) boss.notifyWorker(worker.id);
            }
          },
        );
        workers.push(worker.id);
      }
    },
    async release() {
      clearInterval(rescuer);
      for (const timer of waiting.values()) clearTimeout(timer);
      stopping.abort();
      await boss.offWork(name);
    },
    close: () => boss.stop({ graceful: true, timeout: 10_000 }),
  };
}

/**
 * A claim in an embedded database can only be a dead process's: we hold its lock. Gives those back at once, but for
 * mirrors that wait: the registry that has asked for it knows nothing of our restart.
 */
async function requeue(database: NonNullable<Database['queueDatabase']>): Promise<void> {
  await database.executeSql(
    `update pgboss.job set state = 'retry', started_on = null, start_after = greatest(now(),
       (select wait_until from mirrors where id = singleton_key and state = 'queued'))
     where name = $1 and state in ('active', 'retry')`,
    [name],
  );
}
