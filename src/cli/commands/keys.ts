import { Command } from 'commander';
import { MirrorError } from '../../core/errors.ts';
import type { Key } from '../../core/key.ts';
import { type Context, exitStatus, type ExitStatus, printJson } from '../context.ts';
import { formatAge, formatTable } from '../format.ts';
import { locateService, serviceOption, type ServiceOptions } from '../service.ts';

interface KeysOptions extends ServiceOptions {
  json?: true;
}

/** What the three verbs need, over HTTP or straight in the data folder. Times are ISO 8601. */
interface Keys {
  create(name: string, admin: boolean): Promise<KeyRow & { key: string }>;
  list(): Promise<KeyRow[]>;
  revoke(id: string): Promise<KeyRow>;
}
type KeyRow = { id: string; name: string; admin: boolean } & Partial<
  Record<'createdAt' | 'lastUsedAt' | 'revokedAt', string>
>;

export function keysCommand(context: Context, done: (status: ExitStatus) => void): Command {
  const keys = new Command('keys')
    .summary('create, list and revoke keys')
    .description(
      'Keys let callers in. Needs an administrator key, or, while no service runs, the data folder.',
    );
  const verb = (usage: string, summary: string) =>
    keys
      .command(usage)
      .summary(summary)
      .description(summary)
      .option('--json', 'print JSON')
      .addOption(serviceOption());

  verb('create <name>', 'make a key and show it, this once')
    .option('--admin', 'it may manage keys and see every mirror')
    .action(async (name: string, options: KeysOptions & { admin?: true }) => {
      const made = await withKeys(context, options, (store) => store.create(name, options.admin === true));
      if (options.json) printJson(context, made);
      else {
        context.stdout.write(`${made.key}\n`);
        context.stderr.write(`This is key ${made.id}. It is not shown again.\n`);
      }
      done(exitStatus.ok);
    });

  verb('list', 'list the keys').action(async (options: KeysOptions) => {
    const all = await withKeys(context, options, (store) => store.list(), 'existing');
    if (options.json) for (const key of all) printJson(context, key);
    else
      context.stdout.write(
        formatTable([['ID', 'NAME', 'ROLE', 'AGE', 'LAST USED', 'STATE'], ...all.map(rowOf)]),
      );
    done(exitStatus.ok);
  });

  verb('revoke <id>', 'refuse a key from now on').action(async (id: string, options: KeysOptions) => {
    const revoked = await withKeys(context, options, (store) => store.revoke(id), 'existing').catch(
      (error: unknown) => {
        if (!(error instanceof MirrorError && error.code === 'unknown_id')) throw error;
        throw new MirrorError('unknown_id', `There is no key with the id ${id}.`, {
          remedy: 'Keys are revoked by their id, not by their name: see `dray keys list`.',
        });
      },
    );
    if (options.json) printJson(context, revoked);
    else context.stdout.write(`${revoked.id} (${revoked.name}) is revoked.\n`);
    done(exitStatus.ok);
  });
  return keys;
}

function rowOf({ id, name, admin, createdAt, lastUsedAt, revokedAt }: KeyRow): string[] {
  const age = (time: string | undefined) => (time ? formatAge(Date.now() - Date.parse(time)) : 'never');
  const used = lastUsedAt ? `${age(lastUsedAt)} ago` : 'never';
  return [id, name, admin ? 'admin' : 'user', age(createdAt), used, revokedAt ? 'revoked' : 'good'];
}

/**
 * Asks the service where one is named or runs; else opens the data folder, which nobody else then may.
 * @param which only a `new` key may make the folder.
 */
async function withKeys<T>(
  context: Context,
  options: KeysOptions,
  work: (keys: Keys) => Promise<T>,
  which: 'existing' | 'new' = 'new',
): Promise<T> {
  const service = await locateService(context, options);
  if (service)
    return work({
      create: service.createKey,
      list: async () => (await service.listKeys()).keys,
      revoke: service.revokeKey,
    });
  const { hasKeys, openKeys } = await import('../../compose/keys.ts');
  const config = context.config();
  if (which === 'existing' && !hasKeys(config))
    throw new MirrorError(
      'refused',
      `No service runs at ${config.host}:${config.port}, and ${config.dataDir} is no data folder of one.`,
      { remedy: 'Start one with `dray serve`, or name it with --url; or name its folder in DRAY_DATA_DIR.' },
    );
  const { keys, close } = await openKeys(config);
  try {
    return await work({
      create: async (name, admin) => {
        const { record, key } = await keys.create(name, admin);
        return { ...toRow(record), key };
      },
      list: async () => (await keys.list()).map(toRow),
      revoke: async (id) => {
        const record = await keys.revoke(id);
        if (!record) throw new MirrorError('unknown_id', `There is no key ${id}.`);
        return toRow(record);
      },
    });
  } finally {
    await close();
  }
}

function toRow(key: Key): KeyRow {
  return JSON.parse(JSON.stringify(key)) as KeyRow;
}
