import { readFile } from 'node:fs/promises';
import { addAbortSignal } from 'node:stream';
import { text } from 'node:stream/consumers';
import { MirrorError } from '../core/errors.ts';

/**
 * The images that a file lists, one a line; `#` begins a comment, which no reference has.
 * @param file `-`: standard input.
 * @throws MirrorError `invalid_request` when it can't be read.
 */
export async function readImages(file: string, signal: AbortSignal): Promise<string[]> {
  const content = await (
    file === '-' ? text(addAbortSignal(signal, process.stdin)) : readFile(file, { encoding: 'utf8', signal })
  ).catch((error: unknown) => {
    signal.throwIfAborted();
    throw new MirrorError(
      'invalid_request',
      `${file} can't be read (${(error as NodeJS.ErrnoException).code}).`,
      { remedy: 'Give --from a text file with an image a line, or - for standard input.' },
    );
  });
  return content
    .split(/\r?\n/)
    .map((line) => line.replace(/#.*/, '').trim())
    .filter((line) => line !== '');
}

/** Reads an option that may come several times. */
export function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}
