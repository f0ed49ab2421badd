import { Command } from 'commander';
import { type Context, exitStatus, type ExitStatus } from '../context.ts';
import { requireService, serviceOption, type ServiceOptions } from '../service.ts';

export function logsCommand(context: Context, done: (status: ExitStatus) => void): Command {
  return new Command('logs')
    .summary("print a mirror's log")
    .description("Prints a mirror's log: what Skopeo said, and what Dray did before and after.")
    .argument('<id>', "a mirror's id (mr-…) or a request's")
    .addOption(serviceOption())
    .action(async (id: string, options: ServiceOptions) => done(await logs(context, id, options)));
}

async function logs(context: Context, id: string, options: ServiceOptions): Promise<ExitStatus> {
  const service = await requireService(context, options);
  const mirror = await service.mirror(id);
  context.stdout.write(await service.log(mirror.id));
  return exitStatus.ok;
}
