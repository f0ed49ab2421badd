import { readFileSync } from 'node:fs';

/** Dray's own version, and the commit that it was built from where that is known. */
export function readVersion(): { version: string; commitId: string } {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return { version, commitId: '' };
}
