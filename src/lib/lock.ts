import { spawn } from 'node:child_process';
import { type FileHandle, open, readFile } from 'node:fs/promises';

/** A folder that only this process may use until `release`, or until the process ends in whatever way. */
export interface Lock {
  release(): Promise<void>;
}

/** Another live process holds the lock; `holder` is its process id where it is known. */
export class LockedError extends Error {
  override readonly name = 'LockedError';
  readonly holder: number | undefined;

  constructor(path: string, holder: number | undefined) {
    super(`${path} is locked${holder === undefined ? '' : ` by process ${holder}`}.`);
    this.holder = holder;
  }
}

/**
 * Takes an exclusive flock(2) on a file. The kernel drops it when the process dies, so there is no stale lock
 * to tell from a live one, and it holds between containers that share the folder, where process ids mean
 * nothing. Node has no flock: util-linux's `flock` locks a descriptor that it inherits, and the lock stays with
 * the open file that we keep (docs/adr/0002). Where the command is missing (macOS), a live process id in the
 * file refuses instead.
 * @throws LockedError at once when somebody else holds it.
 */
export async function takeLock(path: string): Promise<Lock> {
  const file = await open(path, 'a+', 0o600);
  try {
    const written = Number((await readFile(path, 'utf8')).trim());
    const holder = Number.isInteger(written) && written > 0 ? written : undefined;
    const got = await flock(file);
    if (got === false || (got === undefined && holder !== undefined && isAlive(holder)))
      throw new LockedError(path, holder);
    await file.truncate(0);
    await file.write(`${process.pid}\n`, 0);
  } catch (error) {
    await file.close();
    throw error;
  }
  return { release: () => file.close() };
}

/** True: locked now. False: somebody else holds it. Undefined: this machine has no `flock`. */
function flock(file: FileHandle): Promise<boolean | undefined> {
  return new Promise((resolve, reject) => {
    const child = spawn('flock', ['--exclusive', '--nonblock', '3'], {
      stdio: ['ignore', 'ignore', 'ignore', file.fd],
    });
    child.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'ENOENT' ? resolve(undefined) : reject(error),
    );
    child.on('exit', (code) => resolve(code === 0));
  });
}

/** Whether another process with this id runs. */
export function isAlive(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
