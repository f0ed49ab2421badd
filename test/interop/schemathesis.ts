import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cache, findCommand } from './clients.ts';

const run = promisify(execFile);
const version = '4.32.5';

/** Installs Schemathesis into a virtual environment in the cache; half a minute the first time. */
export async function installSchemathesis(say: (text: string) => void): Promise<string | undefined> {
  const skipped = (why: string) => {
    say(`skipped: the OpenAPI document: ${why}`);
    return undefined;
  };
  const folder = join(cache, `schemathesis-${version}`);
  const command = join(folder, 'bin', 'schemathesis');
  if (existsSync(command)) return command;
  if (!findCommand('python3')) return skipped('there is no command python3');
  say(`installing Schemathesis ${version} …`);
  try {
    await mkdir(cache, { recursive: true });
    await run('python3', ['-m', 'venv', '--clear', folder]);
    await run(join(folder, 'bin', 'pip'), ['install', '--quiet', `schemathesis==${version}`]);
    return command;
  } catch (error) {
    return skipped((error as Error).message);
  }
}
