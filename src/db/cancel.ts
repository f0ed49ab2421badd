import type { Kysely } from 'kysely';
import type { Failure } from '../core/errors.ts';
import { isFinal } from '../core/mirror.ts';
import { noteState } from './events.ts';
import { mirrorColumns } from './mirror-row.ts';
import type { Schema } from './schema.ts';

export interface Cancellation {
  /** What is on record then. */
  failure: Failure;
  at: Date;
  /** Whose alone it must be: made by this tenant, and asked for by no other. */
  tenant?: string;
  /** Runs in the same transaction. */
  unqueue: (transaction: Kysely<Schema>) => Promise<void>;
}

/**
 * Ends a mirror that is under way, whoever works on it.
 * @returns `ended`: it was over before; `shared`: it is not the tenant's alone. Nothing was changed then.
 */
export function cancelMirror(
  kysely: Kysely<Schema>,
  id: string,
  { failure, at, tenant, unqueue }: Cancellation,
): Promise<'cancelled' | 'ended' | 'shared'> {
  return kysely.transaction().execute(async (transaction) => {
    // Whoever joins meanwhile waits for this lock (requests.ts): it is seen here, or sees that this mirror has ended.
    const mirror = await transaction
      .selectFrom('mirrors')
      .select(['tenant', 'state'])
      .where('id', '=', id)
      .forUpdate()
      .executeTakeFirst();
    if (!mirror || isFinal(mirror.state)) return 'ended';
    if (tenant !== undefined) {
      const others = await transaction
        .selectFrom('requests')
        .select('id')
        .where('mirror_id', '=', id)
        .where('tenant', '!=', tenant)
        .limit(1)
        .executeTakeFirst();
      if (mirror.tenant !== tenant || others) return 'shared';
    }
    await transaction
      .with('changed', (db) =>
        db
          .updateTable('mirrors')
          .set({
            state: 'cancelled',
            phase: null,
            failure: JSON.stringify(failure),
            wait_until: null,
            wait_host: null,
            finished_at: at,
            grant_sealed: null,
          })
          .where('id', '=', id)
          .returning(mirrorColumns),
      )
      .with('noted', noteState)
      .selectFrom('changed')
      .select('id')
      .execute();
    await unqueue(transaction);
    return 'cancelled';
  });
}
