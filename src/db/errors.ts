import { MirrorError } from '../core/errors.ts';

/**
 * Names a failure of the database. SQLSTATE classes: 08 connection, 57P shutdown, 53 resources (53100 disk
 * full); https://www.postgresql.org/docs/current/errcodes-appendix.html. What has neither class nor errno is
 * a fault of ours and is passed on as it is.
 */
export function classifyDatabaseError(error: unknown): unknown {
  if (error instanceof MirrorError) return error;
  const { code, message } = error as { code?: string; message?: string };
  if (code === '53100' || code === 'ENOSPC')
    return new MirrorError('disk_full', 'The disk of the database is full.', { cause: error });
  const lost =
    /^(?:08|53|57P)/.test(code ?? '') ||
    ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EAI_AGAIN', 'ENOENT'].includes(
      code ?? '',
    ) ||
    /Connection terminated|not queryable|Query read timeout|timeout exceeded when trying to connect|PGlite is closed/.test(
      message ?? '',
    );
  return lost
    ? new MirrorError('database_unavailable', 'The database does not answer.', { cause: error })
    : error;
}

/** Runs statements and names what goes wrong. */
export async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw classifyDatabaseError(error);
  }
}
