import { type Kysely, sql } from 'kysely';
import type { Digest } from '../core/digest.ts';
import type { Mirror, MirrorState } from '../core/mirror.ts';
import type { Prefix } from '../core/reference.ts';
import { askedBy, fromRow, mirrorColumns } from './mirror-row.ts';
import type { Schema } from './schema.ts';

/** Which mirrors are wanted: those that all of it holds for. */
export interface MirrorFilter {
  states?: readonly MirrorState[];
  source?: Prefix;
  target?: Prefix;
  digest?: Digest;
  /** Asked for then or later. */
  since?: Date;
  /** Asked for before. */
  until?: Date;
  /** Asked for by this tenant, among others. */
  tenant?: string;
}

export interface Page {
  limit: number;
  /** Go on where an earlier page has ended, as its `next` says. */
  cursor?: string;
}

export interface MirrorPage {
  mirrors: Mirror[];
  /** Absent: there are no more. */
  next?: string;
}

/** A place in the order of all mirrors, also when the mirror there is gone. */
export const cursorPattern = /^[0-9a-z]{1,10}$/;
const radix = 36;

/** A page of mirrors, the one that was asked for last first. What is new meanwhile is in front of every cursor. */
export async function listMirrors(
  kysely: Kysely<Schema>,
  filter: MirrorFilter,
  { limit, cursor }: Page,
): Promise<MirrorPage> {
  const { states, source, target, digest, since, until, tenant } = filter;
  let query = kysely.selectFrom('mirrors').select([...mirrorColumns, 'seq']);
  if (cursor !== undefined) query = query.where('seq', '<', parseInt(cursor, radix));
  if (states?.length) query = query.where('state', 'in', states);
  if (digest) query = query.where('digest', '=', digest);
  if (since) query = query.where('created_at', '>=', since);
  if (until) query = query.where('created_at', '<', until);
  if (source) query = query.where(isUnder('source', source));
  if (target) query = query.where(isUnder('target', target));
  if (tenant !== undefined) query = query.where(askedBy(tenant));
  const rows = await query
    .orderBy('seq', 'desc')
    .limit(limit + 1)
    .execute();
  const shown = rows.slice(0, limit);
  const last = rows.length > limit ? shown.at(-1) : undefined;
  return {
    mirrors: shown.map((row) => fromRow(row)),
    ...(last && { next: last.seq.toString(radix) }),
  };
}

/** Written so that the indexes of migration 0007 find it. */
function isUnder(side: 'source' | 'target', { registry, path, tag }: Prefix) {
  const column = (name: string) => sql.ref(`${side}_${name}`);
  const host = sql<boolean>`${column('registry')} = ${registry}`;
  if (path === undefined) return host;
  const here = sql<boolean>`${host} and ${column('path')} = ${path}`;
  if (tag !== undefined) return sql<boolean>`${here} and coalesce(${column('tag')}, '') = ${tag}`;
  const below = `${path.replace(/[\\%_]/g, '\\$&')}/%`;
  return sql<boolean>`${host} and (${column('path')} = ${path} or ${column('path')} like ${below})`;
}
