import { Command } from 'commander';
import { createSlots } from '../../lib/slots.ts';
import { followAnswer, runBatch, type Runs, watches } from '../batch.ts';
import type { Context, ExitStatus } from '../context.ts';
import { requireService, serviceOption, type ServiceOptions } from '../service.ts';

/** How many are asked for again at once. */
const submits = 16;

interface RetryOptions extends ServiceOptions {
  json?: true;
  wait: boolean;
  verbose?: true;
}

export function retryCommand(context: Context, done: (status: ExitStatus) => void): Command {
  return new Command('retry')
    .summary('ask again for mirrors that have failed')
    .description(
      'Asks again for what mirrors were asked for; one that pauses between two tries goes on at once. Exit statuses as of `dray mirror`.',
    )
    .argument('<id...>', "a mirror's id (mr-…) or a request's")
    .option('--no-wait', 'do not wait for the copies')
    .option('--json', 'print one JSON document a mirror')
    .option('-v, --verbose', "print what becomes of layers, and the copies' logs, to standard error")
    .addOption(serviceOption())
    .action(async (ids: string[], options: RetryOptions) => done(await retry(context, ids, options)));
}

async function retry(context: Context, ids: string[], options: RetryOptions): Promise<ExitStatus> {
  const service = await requireService(context, options);
  const inSlot = createSlots(watches);
  const runs: Runs = {
    run: async ({ name }, report) =>
      followAnswer(service, context, { ...options, name, inSlot }, await service.retry(name), report),
    parallel: submits,
    stopped: 'Stopped watching; the service goes on with its copies.',
    close: () => Promise.resolve(),
  };
  const items = [...new Set(ids)].map((id) => ({ name: id, image: id }));
  return runBatch(context, items, runs, { ...options, patient: options.wait });
}
