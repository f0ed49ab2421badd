import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { cache, findCommand } from './clients.ts';

const run = promisify(execFile);
const module = fileURLToPath(new URL('go', import.meta.url));
const cosignModule = fileURLToPath(new URL('cosign', import.meta.url));
const packages = [
  './skopeo',
  './dsse',
  './referrers',
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
  /** The registry of go-containerregistry with its referrers API; see go/referrers/main.go. */
  referrers: string;
}

/** Builds them; minutes the first time, a second or two later, since Go has a cache of its own. */
export async function buildGoTools(say: (text: string) => void): Promise<GoTools | undefined> {
  const what = 'crane, distribution v3 and the newest containers/image';
  // The C compiler is for SQLite, in which containers/image remembers blobs that it could mount.
  const tags = ['-tags', 'containers_image_openpgp exclude_graphdriver_btrfs'];
  const folder = await build(what, module, [...tags, ...packages], ['go', 'cc'], say);
  if (folder === undefined) return undefined;
  const at = (name: string) => join(folder, name);
  const [crane, registry, skopeo] = [at('crane'), at('registry'), at('skopeo')];
  return { crane, registry, skopeo, dsse: at('dsse'), referrers: at('referrers') };
}

/** Builds cosign, at the version of cosign/go.mod: a module of its own, whose requirements are no one else's. */
export async function buildCosign(say: (text: string) => void): Promise<string | undefined> {
  const command = 'github.com/sigstore/cosign/v3/cmd/cosign';
  const folder = await build('cosign', cosignModule, [command], ['go'], say);
  return folder && join(folder, 'cosign');
}

/** @returns the folder in which the commands are; undefined, said aloud, where they can't be built. */
async function build(
  what: string,
  cwd: string,
  args: string[],
  needs: string[],
  say: (text: string) => void,
): Promise<string | undefined> {
  const missing = needs.find((name) => !findCommand(name));
  if (missing) {
    say(`skipped: ${what}: there is no command ${missing}`);
    return undefined;
  }
  say(`building ${what} …`);
  const folder = join(cache, 'bin');
  await mkdir(folder, { recursive: true });
  try {
    await run('go', ['build', '-mod=readonly', '-o', `${folder}/`, ...args], { cwd, maxBuffer: 1e8 });
    return folder;
  } catch (error) {
    say(`skipped: ${what}: ${(error as Error).message}`);
    return undefined;
  }
}
