import { Command, InvalidArgumentError } from 'commander';
import { formatBytes } from '../../core/bytes.ts';
import { type MirrorState, mirrorStates } from '../../core/mirror.ts';
import type { MirrorView } from '../../wire/mirror.ts';
import type { ListQuery } from '../client.ts';
import { type Context, exitStatus, type ExitStatus, printJson } from '../context.ts';
import { formatAge, formatTable } from '../format.ts';
import { parseCount, requireService, serviceOption, type ServiceOptions } from '../service.ts';

interface ListOptions extends ServiceOptions, Omit<ListQuery, 'limit' | 'cursor'> {
  limit: number;
  json?: true;
}

/** The service gives at most this many in one answer. */
const pageSize = 500;

export function listCommand(context: Context, done: (status: ExitStatus) => void): Command {
  const place = 'registry host, host and path with all under it, or host/path:tag';
  return new Command('list')
    .summary('list mirrors, newest first')
    .description(
      'Lists mirrors, newest first: all for an administrator, else those that the key has asked for.',
    )
    .option('-n, --limit <count>', 'how many', parseCount, 20)
    .option('--state <states>', `in one of these states: ${mirrorStates.join(', ')}`, collectStates)
    .option('--source <place>', `from there: ${place}`)
    .option('--target <place>', 'to there: the same')
    .option('--digest <digest>', 'of this digest')
    .option('--since <time>', 'asked for since then: 90m, 24h, 7d, or a date', parseMoment)
    .option('--until <time>', 'asked for before then', parseMoment)
    .option('--tenant <tenant>', 'what a tenant has asked for, for administrators')
    .option('--json', 'print one JSON document a line')
    .addOption(serviceOption())
    .action(async (options: ListOptions) => done(await list(context, options)));
}

async function list(context: Context, options: ListOptions): Promise<ExitStatus> {
  const { limit, json, url, ...filter } = options;
  const service = await requireService(context, { ...(url !== undefined && { url }) });
  const mirrors: MirrorView[] = [];
  let cursor: string | undefined;
  do {
    const page = await service.list({
      ...filter,
      limit: Math.min(pageSize, limit - mirrors.length),
      ...(cursor !== undefined && { cursor }),
    });
    mirrors.push(...page.mirrors);
    cursor = page.next;
  } while (cursor !== undefined && mirrors.length < limit);
  if (json) for (const mirror of mirrors) printJson(context, mirror);
  else if (mirrors.length === 0) context.stdout.write(emptyText(filter));
  else context.stdout.write(formatTable([['ID', 'STATE', 'SIZE', 'AGE', 'TARGET'], ...mirrors.map(rowOf)]));
  return exitStatus.ok;
}

function emptyText(filter: object): string {
  return Object.keys(filter).length > 0 ? 'No such mirrors.\n' : 'No mirrors yet.\n';
}

function rowOf({ id, state, progress, createdAt, target }: MirrorView): string[] {
  const size = progress.bytesTotal > 0 ? formatBytes(progress.bytesTotal) : '-';
  return [id, state, size, formatAge(Date.now() - Date.parse(createdAt)), target];
}

/** Reads `failed` or `queued,copying`; may come several times. */
function collectStates(value: string, before: MirrorState[] = []): MirrorState[] {
  const named = value.split(',');
  if (named.some((each) => !mirrorStates.includes(each as MirrorState)))
    throw new InvalidArgumentError(`Allowed choices are ${mirrorStates.join(', ')}.`);
  return [...before, ...(named as MirrorState[])];
}

const units = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Reads how long ago, or a date, of which one without a zone is local. */
function parseMoment(value: string): string {
  const [, count, unit] = /^([0-9]{1,6})([mhd])$/.exec(value) ?? [];
  const moment =
    unit === undefined
      ? // What has no time means its midnight here, not in Greenwich.
        new Date(/^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(value) ? `${value}T00:00` : value)
      : new Date(Date.now() - Number(count) * units[unit as keyof typeof units]);
  if (Number.isNaN(moment.getTime()))
    throw new InvalidArgumentError('Write it like 90m, 24h, 7d, 2026-11-30 or 2026-11-30T14:05.');
  return moment.toISOString();
}
