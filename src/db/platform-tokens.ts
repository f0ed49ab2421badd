import type { Kysely } from 'kysely';
import { guarded } from './errors.ts';
import type { Schema } from './schema.ts';

export type TokenStore = ReturnType<typeof createTokenStore>;

/** Refreshed tokens of Seqera Platform, sealed. Throws MirrorError `database_unavailable` or `disk_full`. */
export function createTokenStore(kysely: Kysely<Schema>) {
  return {
    get: (id: string) =>
      guarded(async () => {
        const row = await kysely
          .selectFrom('platform_tokens')
          .select('sealed')
          .where('id', '=', id)
          .executeTakeFirst();
        return row?.sealed;
      }),

    put: (id: string, sealed: string, at: Date) =>
      guarded(async () => {
        await kysely
          .insertInto('platform_tokens')
          .values({ id, sealed, updated_at: at })
          .onConflict((conflict) => conflict.column('id').doUpdateSet({ sealed, updated_at: at }))
          .execute();
      }),

    list: () =>
      guarded(() => kysely.selectFrom('platform_tokens').select(['id', 'sealed']).orderBy('id').execute()),

    /** Puts another sealed form of the same tokens in the place of `old`, unless they have changed. */
    reseal: (id: string, old: string, sealed: string) =>
      guarded(async () => {
        await kysely
          .updateTable('platform_tokens')
          .set({ sealed })
          .where('id', '=', id)
          .where('sealed', '=', old)
          .execute();
      }),

    /** Deletes what has not changed since that time. */
    sweep: (before: Date) =>
      guarded(async () => {
        await kysely.deleteFrom('platform_tokens').where('updated_at', '<', before).execute();
      }),
  };
}
