import { type Kysely, type Selectable, sql } from 'kysely';
import type { Digest } from '../core/digest.ts';
import type { Failure } from '../core/errors.ts';
import { isFinal, type Mirror, type MirrorState, type Phase, type Progress } from '../core/mirror.ts';
import type { Reference } from '../core/reference.ts';
import { guarded } from './errors.ts';
import type { MirrorsTable, Schema } from './schema.ts';

/** Everything but the log, which only its own readers want. */
const mirrorColumns = [
  'id',
  'tenant',
  'source_registry',
  'source_path',
  'source_tag',
  'source_digest',
  'target_registry',
  'target_path',
  'target_tag',
  'digest',
  'state',
  'phase',
  'layers_done',
  'layers_total',
  'bytes_done',
  'bytes_total',
  'attempts',
  'created_at',
  'started_at',
  'finished_at',
  'failure',
  'exit_code',
] as const;

type MirrorRow = Omit<Selectable<MirrorsTable>, 'log' | 'claims' | 'grant_sealed'>;

/** The right to work on a mirror, until somebody else claims it. */
export interface Claim {
  /** As it was when it was claimed. */
  mirror: Mirror;
  number: number;
  /** What its logins are got with, as it was given to `create`. */
  sealedGrant?: string;
}

/** What may become of a mirror that is being copied. */
export type Settled = Exclude<MirrorState, 'copying'>;

export interface Settlement {
  at: Date;
  failure?: Failure;
  exitCode?: number;
  /** The try does not count: it was stopped, it has not failed. */
  uncounted?: boolean;
}

export interface Page {
  limit: number;
  before?: string;
  state?: MirrorState;
  /** Only mirrors that this tenant asked for. */
  tenant?: string;
}

export type MirrorStore = ReturnType<typeof createMirrorStore>;

/** The records of mirrors. Throws MirrorError `database_unavailable` or `disk_full` where the database fails. */
export function createMirrorStore(kysely: Kysely<Schema>) {
  const atTarget = (target: Reference, db: Kysely<Schema> = kysely) =>
    db
      .selectFrom('mirrors')
      .select(mirrorColumns)
      .where('target_registry', '=', target.registry)
      .where('target_path', '=', target.path)
      .where(sql<string>`coalesce(target_tag, '')`, '=', target.tag ?? '');

  return {
    get: (id: string) =>
      guarded(async () =>
        toMirror(
          await kysely.selectFrom('mirrors').select(mirrorColumns).where('id', '=', id).executeTakeFirst(),
        ),
      ),

    /** The latest finished copy of this digest to this target that was made for one of these tenants (LIKE). */
    onRecord: (target: Reference, digest: Digest, tenants: string) =>
      guarded(async () =>
        toMirror(
          await atTarget(target)
            .where('digest', '=', digest)
            .where('state', '=', 'done')
            .where('tenant', 'like', tenants)
            .orderBy('created_at', 'desc')
            .limit(1)
            .executeTakeFirst(),
        ),
      ),

    /** Every mirror to this target that is under way, and the latest that is done: what a newcomer could collide with. */
    atTarget: (target: Reference) =>
      guarded(async () => {
        const active = await atTarget(target).where('state', 'in', ['queued', 'copying']).execute();
        const done = await atTarget(target)
          .where('state', '=', 'done')
          .orderBy('created_at', 'desc')
          .limit(1)
          .execute();
        return [...active, ...done].map((row) => fromRow(row));
      }),

    /** Whether a mirror that was asked for later has already given this target its tag. */
    superseded: (mirror: Mirror) =>
      guarded(async () => {
        const newer = await atTarget(mirror.target)
          .where('state', '=', 'done')
          .where('created_at', '>', mirror.createdAt)
          .where('digest', '!=', mirror.digest)
          .limit(1)
          .executeTakeFirst();
        return newer !== undefined;
      }),

    knowsRegistry: (registry: string) =>
      guarded(async () => {
        const known = (column: 'source_registry' | 'target_registry') =>
          kysely
            .selectFrom('mirrors')
            .select('id')
            .where(column, '=', registry)
            .where('state', '=', 'done')
            .limit(1)
            .executeTakeFirst();
        return Boolean((await known('source_registry')) ?? (await known('target_registry')));
      }),

    /**
     * Records a new mirror and runs `enqueue` in the same transaction; when another one for the same target
     * and digest is under way, returns that one and enqueues nothing.
     */
    create: (
      mirror: Mirror,
      sealedGrant: string | undefined,
      enqueue: (transaction: Kysely<Schema>) => Promise<void>,
    ) =>
      guarded(() =>
        kysely.transaction().execute(async (transaction) => {
          const inserted = await transaction
            .insertInto('mirrors')
            .values({ ...newRow(mirror), grant_sealed: sealedGrant ?? null })
            .onConflict((conflict) => conflict.doNothing())
            .returning('id')
            .executeTakeFirst();
          if (inserted) {
            await enqueue(transaction);
            return mirror;
          }
          const active = await atTarget(mirror.target, transaction)
            .where('digest', '=', mirror.digest)
            .where(sql<string>`coalesce(source_digest, '')`, '=', mirror.source.digest ?? '')
            .where('state', 'in', ['queued', 'copying'])
            .executeTakeFirst();
          // Undefined: the other one ended between the two statements.
          return toMirror(active);
        }),
      ),

    /**
     * Claims a mirror that is under way for one try; a claim by somebody who is gone ends with that.
     * @returns undefined when it has ended.
     */
    claim: (id: string, at: Date): Promise<Claim | undefined> =>
      guarded(async () => {
        const row = await kysely
          .updateTable('mirrors')
          .set({
            state: 'copying',
            phase: 'planning',
            failure: null,
            attempts: sql<number>`attempts + 1`,
            claims: sql<number>`claims + 1`,
            started_at: sql<Date>`coalesce(started_at, ${at})`,
          })
          .where('id', '=', id)
          .where('state', 'in', ['queued', 'copying'])
          .returning([...mirrorColumns, 'claims', 'grant_sealed'])
          .executeTakeFirst();
        if (!row) return undefined;
        const { grant_sealed: sealedGrant } = row;
        return { mirror: fromRow(row), number: row.claims, ...(sealedGrant !== null && { sealedGrant }) };
      }),

    /** Ends a claim; returns false, and changes nothing, when it is another's by now. */
    settle: ({ mirror, number }: Claim, to: Settled, { at, failure, exitCode, uncounted }: Settlement) =>
      guarded(async () => {
        const result = await kysely
          .updateTable('mirrors')
          .set({
            state: to,
            phase: null,
            failure: failure ? JSON.stringify(failure) : null,
            exit_code: exitCode ?? null,
            ...(uncounted && { attempts: sql<number>`attempts - 1` }),
            ...(isFinal(to) && { finished_at: at, grant_sealed: null }),
          })
          .where('id', '=', mirror.id)
          .where('state', '=', 'copying')
          .where('claims', '=', number)
          .executeTakeFirst();
        return result.numUpdatedRows > 0n;
      }),

    progress: ({ mirror, number }: Claim, phase: Phase, progress: Progress) =>
      guarded(async () => {
        await kysely
          .updateTable('mirrors')
          .set({
            phase,
            layers_done: progress.layersDone,
            layers_total: progress.layersTotal,
            bytes_done: progress.bytesDone,
            bytes_total: progress.bytesTotal,
          })
          .where('id', '=', mirror.id)
          .where('state', '=', 'copying')
          .where('claims', '=', number)
          .execute();
      }),

    appendLog: (id: string, text: string) =>
      guarded(async () => {
        await kysely
          .updateTable('mirrors')
          .set({ log: sql`log || ${text}` })
          .where('id', '=', id)
          .execute();
      }),

    log: (id: string) =>
      guarded(async () => {
        const row = await kysely.selectFrom('mirrors').select('log').where('id', '=', id).executeTakeFirst();
        return row?.log;
      }),

    /** Seals the grants of waiting mirrors anew; `undefined` leaves one as it is. */
    resealGrants: (reseal: (sealed: string, id: string) => string | undefined) =>
      guarded(async () => {
        const rows = await kysely
          .selectFrom('mirrors')
          .select(['id', 'grant_sealed'])
          .where('grant_sealed', 'is not', null)
          .execute();
        for (const { id, grant_sealed } of rows) {
          const anew = reseal(grant_sealed as string, id);
          if (anew !== undefined)
            await kysely
              .updateTable('mirrors')
              .set({ grant_sealed: anew })
              .where('id', '=', id)
              .where('grant_sealed', '=', grant_sealed)
              .execute();
        }
      }),

    /** Newest first. */
    list: ({ limit, before, state, tenant }: Page) =>
      guarded(async () => {
        let query = kysely.selectFrom('mirrors').select(mirrorColumns);
        if (state) query = query.where('state', '=', state);
        if (before)
          query = query.where(
            sql<boolean>`(created_at, id) < (select created_at, id from mirrors where id = ${before})`,
          );
        if (tenant !== undefined)
          query = query.where(({ exists, selectFrom }) =>
            exists(
              selectFrom('requests')
                .select('requests.id')
                .whereRef('requests.mirror_id', '=', 'mirrors.id')
                .where('requests.tenant', '=', tenant),
            ),
          );
        const rows = await query.orderBy('created_at', 'desc').orderBy('id', 'desc').limit(limit).execute();
        return rows.map((row) => fromRow(row));
      }),
  };
}

function newRow(mirror: Mirror) {
  const { source, target } = mirror;
  return {
    id: mirror.id,
    tenant: mirror.tenant,
    source_registry: source.registry,
    source_path: source.path,
    source_tag: source.tag ?? null,
    source_digest: source.digest ?? null,
    target_registry: target.registry,
    target_path: target.path,
    target_tag: target.tag ?? null,
    digest: mirror.digest,
    state: mirror.state,
    created_at: mirror.createdAt,
  };
}

function toMirror(row: MirrorRow | undefined): Mirror | undefined {
  return row && fromRow(row);
}

/** A row as the rest of the program knows it. */
function fromRow(row: MirrorRow): Mirror {
  const pinned = row.source_digest === null ? {} : { digest: row.source_digest as Digest };
  return {
    id: row.id,
    tenant: row.tenant,
    source: {
      registry: row.source_registry,
      path: row.source_path,
      ...(row.source_tag !== null && { tag: row.source_tag }),
      ...pinned,
    },
    target: {
      registry: row.target_registry,
      path: row.target_path,
      ...(row.target_tag !== null && { tag: row.target_tag }),
      ...pinned,
    },
    digest: row.digest as Digest,
    state: row.state,
    ...(row.phase && { phase: row.phase }),
    progress: {
      layersDone: row.layers_done,
      layersTotal: row.layers_total,
      bytesDone: row.bytes_done,
      bytesTotal: row.bytes_total,
    },
    attempts: row.attempts,
    createdAt: row.created_at,
    ...(row.started_at && { startedAt: row.started_at }),
    ...(row.finished_at && { finishedAt: row.finished_at }),
    ...(row.failure && { failure: row.failure }),
    ...(row.exit_code !== null && { exitCode: row.exit_code }),
  };
}
