import { Command, Option } from 'commander';
import { formatBytes } from '../../core/bytes.ts';
import { mirrorStates } from '../../core/mirror.ts';
import type { MirrorView } from '../../wire/mirror.ts';
import { type Context, exitStatus, type ExitStatus, printJson } from '../context.ts';
import { formatAge, formatTable } from '../format.ts';
import { parseCount, requireService, serviceOption, type ServiceOptions } from '../service.ts';

interface ListOptions extends ServiceOptions {
  limit: number;
  state?: string;
  json?: true;
}

/** The service gives at most this many in one answer. */
const pageSize = 500;

export function listCommand(context: Context, done: (status: ExitStatus) => void): Command {
  return new Command('list')
    .summary('list mirrors, newest first')
    .description(
      'Lists mirrors, newest first: all for an administrator, else those that the key has asked for.',
    )
    .option('-n, --limit <count>', 'how many', parseCount, 20)
    .addOption(new Option('--state <state>', 'only those in this state').choices([...mirrorStates]))
    .option('--json', 'print one JSON document a line')
    .addOption(serviceOption())
    .action(async (options: ListOptions) => done(await list(context, options)));
}

async function list(context: Context, { limit, state, json, url }: ListOptions): Promise<ExitStatus> {
  const service = await requireService(context, { ...(url !== undefined && { url }) });
  const mirrors: MirrorView[] = [];
  let before: string | undefined;
  do {
    const wanted = Math.min(pageSize, limit - mirrors.length);
    const page = await service.list({
      limit: String(wanted),
      ...(state && { state }),
      ...(before && { before }),
    });
    mirrors.push(...page.mirrors);
    before = page.next;
  } while (before !== undefined && mirrors.length < limit);
  if (json) for (const mirror of mirrors) printJson(context, mirror);
  else if (mirrors.length === 0) context.stdout.write('No mirrors yet.\n');
  else context.stdout.write(formatTable([['ID', 'STATE', 'SIZE', 'AGE', 'TARGET'], ...mirrors.map(rowOf)]));
  return exitStatus.ok;
}

function rowOf({ id, state, progress, createdAt, target }: MirrorView): string[] {
  const size = progress.bytesTotal > 0 ? formatBytes(progress.bytesTotal) : '-';
  return [id, state, size, formatAge(Date.now() - Date.parse(createdAt)), target];
}
