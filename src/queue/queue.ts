import type { Kysely } from 'kysely';
import { fromKysely, PgBoss } from 'pg-boss';
import type { Database } from '../db/open.ts';
import type { Schema } from '../db/schema.ts';

/** Does one job. A rejection gives the job back, to be claimed again after a growing delay. */
export type Handler = (mirrorId: string, signal: AbortSignal) => Promise<void>;

/** Our few verbs over pg-boss. A job's payload is a mirror's id and nothing else. */
export interface Queue {
  /** Adds a job in the given transaction; one job per mirror at a time, queued or claimed. */
  enqueue(mirrorId: string, transaction: Kysely<Schema>): Promise<void>;
  /** Starts claiming, at most `concurrency` jobs at once in this process. */
  work(concurrency: number, handler: Handler): Promise<void>;
  /** Claims no more, aborts what runs, and waits until it has been given back. */
  stop(): Promise<void>;
}

const name = 'mirror';

/**
 * How long a claim outlives its process: pg-boss's lowest heartbeat is 10 s, and its monitor adds up to as
 * much again. The sole owner of an embedded database does not wait for it (see `requeue`).
 */
const heartbeatSeconds = 15;

/** Starts the queue in the given database. `onError` hears of failures that no caller waits for. */
export async function openQueue(
  database: Database,
  timeLimit: number,
  onError: (error: Error) => void,
): Promise<Queue> {
  const boss = new PgBoss({
    ...(database.queueDatabase
      ? { db: database.queueDatabase, backend: 'pglite' as const }
      : { connectionString: database.url, max: 5, application_name: 'dray-queue' }),
    schedule: false,
    useListenNotify: true,
    monitorIntervalSeconds: 10,
    superviseIntervalSeconds: 10,
    openTelemetry: { enabled: false },
  });
  boss.on('error', onError);
  await boss.start();
  await boss.createQueue(name, {
    policy: 'exclusive',
    notify: true,
    heartbeatSeconds,
    // Attempts are counted by mirror/, where the reason is known; the queue only spaces them.
    retryLimit: 1000,
    retryDelay: 1,
    retryBackoff: true,
    retryDelayMax: 30,
    expireInSeconds: Math.ceil(timeLimit) + 600,
    deleteAfterSeconds: 3600,
  });
  if (database.queueDatabase) await requeue(database.queueDatabase);
  const stopping = new AbortController();

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
          { pollingIntervalSeconds: 1, notifyPollingIntervalSeconds: 1 },
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
    async stop() {
      stopping.abort();
      await boss.stop({ graceful: true, timeout: 10_000 });
    },
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
