import { type QueryCreator, sql } from 'kysely';
import type { MirrorRow } from './mirror-row.ts';
import type { Schema } from './schema.ts';

/**
 * Part of a statement that has changed mirrors in a `with changed as (… returning …)`: notes their new states in the
 * same transaction, with their rows locked.
 */
export function noteState(db: QueryCreator<Schema & { changed: MirrorRow }>) {
  return db
    .insertInto('events')
    .columns(['mirror_id', 'type', 'data'])
    .expression(
      db.selectFrom('changed').select([
        'id',
        sql.lit<string>('state').as('type'),
        sql<string>`jsonb_strip_nulls(jsonb_build_object('state', state, 'attempts', attempts, 'failure', failure,
            'waitHost', wait_host, 'waitUntil', wait_until, 'layersDone', layers_done, 'layersTotal', layers_total,
            'bytesDone', bytes_done, 'bytesTotal', bytes_total, 'exitCode', exit_code))`.as('data'),
      ]),
    );
}
