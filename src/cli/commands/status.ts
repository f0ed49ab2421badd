import { Command } from 'commander';
import { type Context, exitStatus, type ExitStatus, printJson } from '../context.ts';
import { formatMirror } from '../format.ts';
import { requireService, serviceOption, type ServiceOptions } from '../service.ts';

export function statusCommand(context: Context, done: (status: ExitStatus) => void): Command {
  return new Command('status')
    .summary('show one mirror')
    .description('Shows one mirror. Exit status 0: done, 75: under way, 1: failed.')
    .argument('<id>', "a mirror's id (mr-…) or a request's")
    .option('--json', 'print one JSON document')
    .addOption(serviceOption())
    .action(async (id: string, options: ServiceOptions & { json?: true }) =>
      done(await status(context, id, options)),
    );
}

async function status(
  context: Context,
  id: string,
  options: ServiceOptions & { json?: true },
): Promise<ExitStatus> {
  const service = await requireService(context, options);
  const mirror = await service.mirror(id);
  if (options.json) printJson(context, mirror);
  else context.stdout.write(formatMirror(mirror, context.stdout));
  return statusOf(mirror.state);
}

function statusOf(state: string): ExitStatus {
  if (state === 'done') return exitStatus.ok;
  return state === 'failed' || state === 'cancelled' ? exitStatus.failed : exitStatus.pending;
}
