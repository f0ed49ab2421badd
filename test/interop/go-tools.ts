import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { cache, findCommand } from './clients.ts';

const run = promisify(execFile);
const module = fileURLToPath(new URL('go', import.meta.url));
const packages = [
  './skopeo',
  './dsse',
  'github.com/google/go-containerregistry/cmd/crane',
  'github.com/distribution/distribution/v3/cmd/registry',
];

/** Commands that were built from Go modules, at the versions of go/go.mod. */
export interface GoTools {
  crane: string;
  /** The registry server of distribution v3. */
  registry: string;
  /** Our few lines over the newest containers/image; see go/skopeo/main.go. */
  skopeo: string;
  /** Checks envelopes with go-securesystemslib; see go/dsse/main.go. */
  dsse: string;
}

/** Builds them; minutes the first time, a second or two later, since Go has a cache of its own. */
export async function buildGoTools(say: (text: string) => void): Promise<GoTools | undefined> {
  // The C compiler is for SQLite, in which containers/image remembers blobs that it could mount.
  const missing = ['go', 'cc'].find((name) => !findCommand(name));
  if (missing) {
    say(`skipped: crane, distribution v3 and the newest containers/image: there is no command ${missing}`);
    return undefined;
  }
  say('building crane, distribution v3 and a front of the newest containers/image …');
  const folder = join(cache, 'bin');
  await mkdir(folder, { recursive: true });
  const flags = [
    '-mod=readonly',
    '-tags',
    'containers_image_openpgp exclude_graphdriver_btrfs',
    '-o',
    `${folder}/`,
  ];
  try {
    await run('go', ['build', ...flags, ...packages], { cwd: module, maxBuffer: 1e8 });
  } catch (error) {
    say(`skipped: crane, distribution v3 and the newest containers/image: ${(error as Error).message}`);
    return undefined;
  }
  const at = (name: string) => join(folder, name);
  return { crane: at('crane'), registry: at('registry'), skopeo: at('skopeo'), dsse: at('dsse') };
}
