import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { ErrorCode } from '../../../src/core/errors.ts';

/** What one release of Skopeo said of one fault. Source and target are 127.0.0.1:5001 and 5002, both `app`. */
export interface Recorded {
  /** What the side at fault did, and to which request. */
  how: string;
  side: 'source' | 'target';
  shape: 'single' | 'index';
  /** A login was sent to the side at fault. */
  login?: true;
  /** Another host than the usual one of that side. */
  host?: string;
  code: ErrorCode;
  /** What it wrote, less what is at debug level and tells nothing of the failure. */
  lines: string[];
}

export interface Corpus {
  version: string;
  recorded: Recorded[];
}

/** All that were recorded, by record.ts. */
export function readCorpora(): Corpus[] {
  const folder = fileURLToPath(new URL('.', import.meta.url));
  return globSync('*.json', { cwd: folder })
    .toSorted()
    .map((file) => JSON.parse(readFileSync(`${folder}/${file}`, 'utf8')) as Corpus);
}
