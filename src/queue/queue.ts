import { type Kysely, sql } from 'kysely';
import { fromKysely, PgBoss } from 'pg-boss';
import { type Database, poolOptions } from '../db/open.ts';
import type { Schema } from '../db/schema.ts';

/** Does one job. A rejection gives the job back, to be claimed again after a growing delay. */
export type Handler = (mirrorId: string, signal: AbortSignal) => Promise<void>;

/** Our few verbs over pg-boss. A job's payload is a mirror's id and nothing else. */
export interface Queue {
  /** Adds a job in the given transaction; one job per mirror at a time, queued or claimed. */
  enqueue(mirrorId: string, transaction: Kysely<Schema>): Promise<void>;
  /** Starts claiming, at most `concurrency` jobs at once in this process. */
  work(concurrency: number, handler: Handler): Promise<void>;
  /** Claims no more, aborts what runs, and waits until it has been given back. Jobs can still be added. */
  release(): Promise<void>;
  close(): Promise<void>;
}

const name = 'mirror';

/**
 * How long a claim outlives its process: pg-boss's lowest heartbeat is 10 s, and its monitor adds up to as
 * much again. The sole owner of an embedded database does not wait for it (see `requeue`).
 */
const heartbeatSeconds = 15;

/** Seconds between a copy's own time limit and the end of its job, and milliseconds between two rescues. */
const expiryMargin = 600;
const rescueEvery = 60_000;

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

  /** A mirror under way whose job is gone, for whatever reason, would wait for ever: it gets a new one. */
  async function rescue(): Promise<void> {
    const lost = await sql<{
      id: string;
    }>`select id from mirrors where state in ('queued', 'copying') and not exists
      (select from pgboss.job where name = ${name} and singleton_key = mirrors.id and state < 'completed')`.execute(
      database.kysely,
    );
    for (const { id } of lost.rows) await boss.send(name, { mirrorId: id }, { singletonKey: id });
  }
  await rescue();
  const rescuer = setInterval(() => void rescue().catch(onError), rescueEvery);
  rescuer.unref();

  return {
    async enqueue(mirrorId, transaction) {
      await boss.send(name, { mirrorId }, { singletonKey: mirrorId, db: fromKysely(transaction) });
    },
    async work(concurrency, handler) {
      for (let n = 0; n < concurrency; n++) {
        const worker: { id?: string } = {};
        worker.id = await boss.work<{ mirrorId: string }>(
          name,
          // Notifications bring new jobs; the poll is for those whose delay has passed.
          { pollingIntervalSeconds: 1, notifyPollingIntervalSeconds: 2 },
          async ([job]) => {
            try {
              if (job) await handler(job.data.mirrorId, AbortSignal.any([job.signal, stopping.signal]));
            } finally {
              // A worker that was not notified while it was busy sleeps until its next poll, however long the
              // queue: look for the next job at once.
              if (worker.id) boss.notifyWorker(worker.id);
            }
          },
        );
      }
    },
    async release() {
      clearInterval(rescuer);
      stopping.abort();
      await boss.offWork(name);
    },
    close: () => boss.stop({ graceful: true, timeout: 10_000 }),
  };
}

/** A claim in an embedded database can only be a dead process's: we hold its lock. Gives those back at once. */
async function requeue(database: NonNullable<Database['queueDatabase']>): Promise<void> {
  await database.executeSql(
    `update pgboss.job set state = 'retry', start_after = now(), started_on = null
     where name = $1 and state in ('active', 'retry')`,
    [name],
  );
}
