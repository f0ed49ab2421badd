import type { ExpressionBuilder, Selectable } from 'kysely';
import type { Digest } from '../core/digest.ts';
import type { Mirror } from '../core/mirror.ts';
import { formatSelection, readSelection } from '../core/selection.ts';
import type { MirrorsTable, Schema } from './schema.ts';

/** Everything but the log, which only its own readers want. */
export const mirrorColumns = [
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
  'selection',
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
  'wait_host',
  'wait_until',
  'arrival',
  'exit_code',
] as const;

export type MirrorRow = Omit<Selectable<MirrorsTable>, 'seq' | 'log' | 'claims' | 'grant_sealed'>;

/** What a new mirror is stored as. */
export function newRow(mirror: Mirror) {
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
    selection: formatSelection(mirror.selection),
    state: mirror.state,
    created_at: mirror.createdAt,
  };
}

export function toMirror(row: MirrorRow | undefined): Mirror | undefined {
  return row && fromRow(row);
}

/** A row as the rest of the program knows it. */
export function fromRow(row: MirrorRow): Mirror {
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
    selection: readSelection(row.selection),
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
    ...(row.wait_until && {
      wait: { until: row.wait_until, ...(row.wait_host !== null && { host: row.wait_host }) },
    }),
    ...(row.arrival && { arrival: row.arrival }),
    ...(row.exit_code !== null && { exitCode: row.exit_code }),
  };
}

/** Of whose requests one, at least, is for the mirror. */
export const askedBy =
  (tenant: string) =>
  ({ exists, selectFrom }: ExpressionBuilder<Schema, 'mirrors'>) =>
    exists(
      selectFrom('requests')
        .select('requests.id')
        .whereRef('requests.mirror_id', '=', 'mirrors.id')
        .where('requests.tenant', '=', tenant),
    );
