import { Command } from 'commander';
import { asMirrorError } from '../../core/errors.ts';
import { type Context, exitStatus, type ExitStatus, printJson } from '../context.ts';
import { formatFailure, indent, paint } from '../format.ts';
import { requireService, serviceOption, type ServiceOptions } from '../service.ts';

interface CancelOptions extends ServiceOptions {
  json?: true;
}

export function cancelCommand(context: Context, done: (status: ExitStatus) => void): Command {
  return new Command('cancel')
    .summary('stop mirrors that are under way')
    .description(
      'Stops mirrors that are under way. Exit status 0: all are stopped, 1: one is not, such as one that others wait for too.',
    )
    .argument('<id...>', "a mirror's id (mr-…) or a request's")
    .option('--json', 'print one JSON document a mirror')
    .addOption(serviceOption())
    .action(async (ids: string[], options: CancelOptions) => done(await cancel(context, ids, options)));
}

async function cancel(context: Context, ids: string[], options: CancelOptions): Promise<ExitStatus> {
  const { stdout, stderr } = context;
  const service = await requireService(context, options);
  let status: ExitStatus = exitStatus.ok;
  for (const id of ids) {
    try {
      const mirror = await service.cancel(id);
      if (options.json) printJson(context, mirror);
      else stdout.write(`${paint(stdout, 'yellow', '✗')} ${mirror.target}  cancelled\n`);
    } catch (caught) {
      context.signal.throwIfAborted();
      status = exitStatus.failed;
      stderr.write(`${paint(stderr, 'red', '✗')} ${id}\n${indent(formatFailure(asMirrorError(caught)))}\n`);
    }
  }
  return status;
}
