import { type Kysely, sql } from 'kysely';
import type { Digest } from '../core/digest.ts';
import type { Failure } from '../core/errors.ts';
import {
  type Arrival,
  isFinal,
  type Mirror,
  type MirrorState,
  type Phase,
  type Progress,
  type Wait,
} from '../core/mirror.ts';
import type { Reference } from '../core/reference.ts';
import { formatSelection } from '../core/selection.ts';
import { type Cancellation, cancelMirror } from './cancel.ts';
import { guarded } from './errors.ts';
import { type LayerChange, noteLayers, noteState } from './events.ts';
import { listMirrors, type MirrorFilter, type Page } from './list.ts';
import { askedBy, fromRow, mirrorColumns, newRow, toMirror } from './mirror-row.ts';
import type { Schema } from './schema.ts';

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
  /** What has come, of one that is done. */
  arrival?: Arrival;
  /** Until when it is not to be tried again. */
  wait?: Wait;
  /** The try does not count: it was stopped, it has not failed. */
  uncounted?: boolean;
  /** What was signed of it; kept with the end, both or neither, unless an earlier try has kept one. */
  receipt?: string;
}

export type MirrorStore = ReturnType<typeof createMirrorStore>;

/**
 * The records of mirrors. Throws MirrorError `database_unavailable` or `disk_full` where the database fails.
 * @param changed hears of each mirror that was changed here, when that is committed.
 */
export function createMirrorStore(kysely: Kysely<Schema>, changed: (id: string) => void = () => undefined) {
  /** For what may change a mirror. Where that failed, it may have been done even so; whoever listens looks by itself. */
  const changing = async <T>(id: string, work: () => Promise<T>): Promise<T> => {
    const result = await guarded(work);
    changed(id);
    return result;
  };

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
            .orderBy('seq', 'desc')
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
          .orderBy('seq', 'desc')
          .limit(1)
          .execute();
        return [...active, ...done].map((row) => fromRow(row));
      }),

    /** Whether a mirror that was asked for later has already given this target its tag. */
    superseded: (mirror: Mirror) =>
      guarded(async () => {
        const newer = await atTarget(mirror.target)
          .where('state', '=', 'done')
          .where('seq', '>', (db) => db.selectFrom('mirrors').select('seq').where('id', '=', mirror.id))
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
     * and digest, that wants the same of it, is under way, returns that one and enqueues nothing.
     */
    create: (
      mirror: Mirror,
      sealedGrant: string | undefined,
      enqueue: (transaction: Kysely<Schema>) => Promise<void>,
    ) =>
      changing(mirror.id, () =>
        kysely.transaction().execute(async (transaction) => {
          const inserted = await transaction
            .with('changed', (db) =>
              db
                .insertInto('mirrors')
                .values({ ...newRow(mirror), grant_sealed: sealedGrant ?? null })
                .onConflict((conflict) => conflict.doNothing())
                .returning(mirrorColumns),
            )
            .with('noted', noteState)
            .selectFrom('changed')
            .select('id')
            .executeTakeFirst();
          if (inserted) {
            await enqueue(transaction);
            return mirror;
          }
          const active = await atTarget(mirror.target, transaction)
            .where('digest', '=', mirror.digest)
            .where(sql<string>`coalesce(source_digest, '')`, '=', mirror.source.digest ?? '')
            .where('selection', '=', formatSelection(mirror.selection))
            .where('state', 'in', ['queued', 'copying'])
            .executeTakeFirst();
          // Undefined: the other one ended between the two statements.
          return toMirror(active);
        }),
      ),

    /**
     * Claims a mirror that is under way for one try; a claim by somebody who is gone ends with that, and its try, which
     * was stopped and has not failed, does not count.
     * @returns undefined when it has ended.
     */
    claim: (id: string, at: Date): Promise<Claim | undefined> =>
      changing(id, async () => {
        const row = await kysely
          .with('changed', (db) =>
            db
              .updateTable('mirrors')
              .set({
                state: 'copying',
                phase: 'planning',
                failure: null,
                wait_until: null,
                wait_host: null,
                attempts: sql<number>`case when state = 'copying' then attempts else attempts + 1 end`,
                claims: sql<number>`claims + 1`,
                started_at: sql<Date>`coalesce(started_at, ${at})`,
              })
              .where('id', '=', id)
              .where('state', 'in', ['queued', 'copying'])
              .returning([...mirrorColumns, 'claims', 'grant_sealed']),
          )
          .with('noted', noteState)
          .selectFrom('changed')
          .selectAll()
          .executeTakeFirst();
        if (!row) return undefined;
        const { grant_sealed: sealedGrant } = row;
        return { mirror: fromRow(row), number: row.claims, ...(sealedGrant !== null && { sealedGrant }) };
      }),

    /** Ends a claim; returns false, and changes nothing, when it is another's by now. */
    settle: (
      { mirror, number }: Claim,
      to: Settled,
      { at, failure, exitCode, wait, uncounted, arrival, receipt }: Settlement,
    ) =>
      changing(mirror.id, async () => {
        const settled = await kysely
          .with('changed', (db) =>
            db
              .updateTable('mirrors')
              .set({
                state: to,
                phase: null,
                failure: failure ? JSON.stringify(failure) : null,
                wait_until: wait?.until ?? null,
                wait_host: wait?.host ?? null,
                exit_code: exitCode ?? null,
                arrival: arrival ? JSON.stringify(arrival) : null,
                ...(uncounted && { attempts: sql<number>`attempts - 1` }),
                ...(isFinal(to) && { finished_at: at, grant_sealed: null }),
              })
              .where('id', '=', mirror.id)
              .where('state', '=', 'copying')
              .where('claims', '=', number)
              .returning(mirrorColumns),
          )
          .with('noted', noteState)
          .with('kept', (db) =>
            db
              .insertInto('receipts')
              .columns(['mirror_id', 'envelope', 'created_at'])
              .expression(
                db
                  .selectFrom('changed')
                  .select([
                    'id',
                    sql<string>`${receipt ?? ''}`.as('envelope'),
                    sql<Date>`${at}::timestamptz`.as('at'),
                  ])
                  .where(({ lit }) => lit(receipt !== undefined)),
              )
              .onConflict((conflict) => conflict.doNothing()),
          )
          .selectFrom('changed')
          .select('id')
          .executeTakeFirst();
        return settled !== undefined;
      }),

    cancel: (id: string, cancellation: Cancellation) =>
      changing(id, () => cancelMirror(kysely, id, cancellation)),

    /**
     * Writes how far a claim is, and what became of layers; writes nothing and returns false when it is another's by
     * now, or the mirror has ended.
     */
    progress: (
      { mirror, number }: Claim,
      phase: Phase,
      progress: Progress,
      layers: readonly LayerChange[] = [],
    ) =>
      changing(mirror.id, async () => {
        const written = await kysely
          .with('changed', (db) =>
            db
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
              .returning('id'),
          )
          .with('noted', (db) => noteLayers(db, layers))
          .selectFrom('changed')
          .select('id')
          .executeTakeFirst();
        return written !== undefined;
      }),

    /** Changes nothing when the claim is another's by now. */
    appendLog: ({ mirror, number }: Claim, text: string) =>
      guarded(async () => {
        await kysely
          .updateTable('mirrors')
          // PostgreSQL has no room for NUL.
          .set({ log: sql`log || ${text.replaceAll('\0', '\ufffd')}` })
          .where('id', '=', mirror.id)
          .where('claims', '=', number)
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

    /** Those that are being copied, all or those that this tenant asked for. */
    copying: (tenant: string | undefined) =>
      guarded(async () => {
        let query = kysely.selectFrom('mirrors').select(mirrorColumns).where('state', '=', 'copying');
        if (tenant !== undefined) query = query.where(askedBy(tenant));
        const rows = await query.orderBy('seq').execute();
        return rows.map((row) => fromRow(row));
      }),

    list: (filter: MirrorFilter, page: Page) => guarded(() => listMirrors(kysely, filter, page)),
  };
}
