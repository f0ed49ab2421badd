import { asMirrorError, type ErrorCode, type Side } from '../core/errors.ts';

/** What fails before any registry is asked, and not because of one, is on neither side. */
const sideless = new Set<ErrorCode>([
  'platform_unavailable',
  'unpaired_endpoint',
  'unauthenticated',
  'forbidden',
  'grant_lost',
  'logins_unreadable',
  'internal',
]);

/** Says of whatever fails inside on which side it did; an error that has a side keeps it. */
export async function onSide<T>(side: Side, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (caught) {
    const error = asMirrorError(caught);
    throw error.side || sideless.has(error.code) ? error : error.at(side);
  }
}
