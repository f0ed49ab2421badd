import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Config, ConfigError, parseSecretKeys } from '../config.ts';
import { type KeyStore, newKey } from '../core/key.ts';
import { createSealer, type Sealer } from '../lib/seal.ts';

/** Whether there are keys to open without a service: reading must not make a database. */
export function hasKeys({ databaseUrl, dataDir }: Config): boolean {
  return databaseUrl !== undefined || existsSync(join(dataDir, 'db'));
}

/** Opens the keys without a service: refused while one runs on the same data folder. */
export async function openKeys(config: Config): Promise<{ keys: KeyStore; close(): Promise<void> }> {
  const [{ openDatabase }, { createKeyStore }] = await Promise.all([
    import('../db/open.ts'),
    import('../db/keys.ts'),
  ]);
  const database = await openDatabase(config);
  return { keys: createKeyStore(database.kysely), close: () => database.close() };
}

/** The file comes first, whole or not at all: a key that nobody knows would lock everybody out. */
export async function makeFirstKey(keys: KeyStore, { keyFile }: Config): Promise<string | undefined> {
  if ((await keys.list()).some(({ admin, revokedAt }) => admin && !revokedAt)) return undefined;
  const key = newKey();
  await writeFile(`${keyFile}.new`, `${key}\n`, { mode: 0o600, flag: 'w' });
  await rename(`${keyFile}.new`, keyFile);
  await keys.create('first start', true, key);
  return keyFile;
}

/**
 * The master key: from the environment, or from a file that the first start makes.
 * @throws ConfigError when others than its owner may read the file.
 */
export async function openSealer({ secretKeys, secretKeyFile }: Config): Promise<Sealer> {
  if (secretKeys) return createSealer(secretKeys);
  if (!existsSync(secretKeyFile)) {
    await writeFile(`${secretKeyFile}.new`, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600 });
    await rename(`${secretKeyFile}.new`, secretKeyFile);
  }
  if (((await stat(secretKeyFile)).mode & 0o077) !== 0)
    throw new ConfigError(
      `${secretKeyFile} can be read by others. Make it private: chmod 600 ${secretKeyFile}`,
    );
  return createSealer(parseSecretKeys(await readFile(secretKeyFile, 'utf8'), secretKeyFile));
}
