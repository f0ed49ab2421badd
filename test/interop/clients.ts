import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Tools } from './setup.ts';

/** Downloads and build artefacts of this suite; never inside the repository. */
export const cache =
  process.env['DRAY_INTEROP_CACHE'] ??
  join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'dray-interop');

/** Where clients that can't be installed from here may be put, or linked, by hand. */
const handmade = join(cache, 'clients');

/** Path of a command in one of the folders. */
export function findCommand(name: string, folders = (process.env['PATH'] ?? '').split(delimiter)) {
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** Finds clients that no package registry has. */
export function findClients(say: (text: string) => void): Omit<Tools, 'go' | 'cosign' | 'schemathesis'> {
  const find = (name: string, what: string) => {
    const path = findCommand(name, [handmade]) ?? findCommand(name);
    if (path) say(`${what}: ${path}`);
    else say(`skipped: ${what}: there is no command ${name} on the PATH or in ${handmade}`);
    return path;
  };
  const skopeos = existsSync(handmade)
    ? readdirSync(handmade)
        .filter((name) => name.startsWith('skopeo'))
        .map((name) => join(handmade, name))
    : [];
  if (skopeos.length === 0) say(`skipped: other releases of Skopeo: there is no ${handmade}/skopeo*`);
  return {
    wave: find('wave', 'the Wave command line'),
    nextflow: find('nextflow', 'Nextflow'),
    olareg: find('olareg', 'olareg'),
    skopeos,
  };
}
