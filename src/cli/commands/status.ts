import { Command } from 'commander';
import type { Client } from '../client.ts';
import { type Context, exitStatus, type ExitStatus, printJson } from '../context.ts';
import { formatLayer, formatMirror } from '../format.ts';
import { changeOf, createView, type Row } from '../live.ts';
import { requireService, serviceOption, type ServiceOptions } from '../service.ts';
import { LostSight, watch } from '../watch.ts';

interface StatusOptions extends ServiceOptions {
  follow?: true;
  json?: true;
  verbose?: true;
}

export function statusCommand(context: Context, done: (status: ExitStatus) => void): Command {
  return new Command('status')
    .summary('show one mirror')
    .description('Shows one mirror. Exit status 0: done, 75: under way, 1: failed.')
    .argument('<id>', "a mirror's id (mr-…) or a request's")
    .option('-f, --follow', 'go on until it has ended')
    .option('--json', 'print one JSON document; with --follow one for each event, a line each')
    .option('-v, --verbose', 'with --follow: print what becomes of layers to standard error')
    .addOption(serviceOption())
    .action(async (id: string, options: StatusOptions) => done(await status(context, id, options)));
}

async function status(context: Context, id: string, options: StatusOptions): Promise<ExitStatus> {
  const service = await requireService(context, options);
  if (options.follow) return follow(context, service, id, options);
  const mirror = await service.mirror(id);
  if (options.json) printJson(context, mirror);
  else context.stdout.write(formatMirror(mirror, context.stdout));
  return statusOf(mirror.state);
}

async function follow(
  context: Context,
  service: Client,
  id: string,
  { json, verbose }: StatusOptions,
): Promise<ExitStatus> {
  const { signal, stderr } = context;
  const { source, target, state, createdAt } = await service.mirror(id);
  // It has been under way for so long.
  const startedAt = performance.now() - (Date.now() - Date.parse(createdAt));
  const row: Row = { name: source, image: source, target, state, startedAt };
  const view = json ? undefined : await createView(context);
  const change = (values: Partial<Row>) => view?.show(Object.assign(row, values));
  try {
    await watch(service, id, (seen) => change(changeOf(seen)), {
      signal,
      onEvent: (event) => {
        if (event.type === 'state') row.state = event.state;
        if (json) printJson(context, event);
        else if (verbose && event.type === 'layer') stderr.write(`${formatLayer(event)}\n`);
      },
    });
    change({ endedAt: performance.now() });
    return statusOf(row.state);
  } catch (error) {
    if (signal.aborted) {
      stderr.write('Stopped watching; the service goes on with its copies.\n');
      return exitStatus.interrupted;
    }
    if (!(error instanceof LostSight)) throw error;
    change({ note: error.message, endedAt: performance.now() });
    if (json) stderr.write(`dray: ${error.message}\n`);
    return exitStatus.pending;
  } finally {
    view?.end([row]);
  }
}

function statusOf(state: string): ExitStatus {
  if (state === 'done') return exitStatus.ok;
  return state === 'failed' || state === 'cancelled' ? exitStatus.failed : exitStatus.pending;
}
