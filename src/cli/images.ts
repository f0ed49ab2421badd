import { readFile } from 'node:fs/promises';
import { addAbortSignal } from 'node:stream';
import { text } from 'node:stream/consumers';
import { InvalidArgumentError } from 'commander';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import { parsePlatform, type Referrers } from '../core/selection.ts';

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

/** Reads `linux/amd64,linux/arm64`, which may come several times. */
export function collectPlatforms(value: string, before: string[] = []): string[] {
  const named = value.split(',');
  try {
    return [...before, ...named.map((each) => parsePlatform(each))];
  } catch (error) {
    throw new InvalidArgumentError(asMirrorError(error).message);
  }
}

/** Reads `all`, `none`, or artifact types with commas between them. */
export function parseReferrers(value: string): Referrers {
  if (value === 'all' || value === 'none') return value;
  const types = value.split(',');
  if (types.some((type) => !type.includes('/')))
    throw new InvalidArgumentError('Give all, none, or artifact types such as application/spdx+json.');
  return types;
}
