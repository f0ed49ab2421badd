import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { Command } from 'commander';
import { type Context, exitStatus, type ExitStatus } from '../context.ts';

/** Milliseconds; supervisors commonly kill after 30 s, and answers under way may take ten. */
const closeLimit = 25_000;

export function serveCommand(context: Context, done: (status: ExitStatus) => void): Command {
  return new Command('serve')
    .summary('run the service')
    .description('Runs the service until SIGTERM or Ctrl-C. Copies under way then go on at the next start.')
    .action(async () => done(await serve(context)));
}

async function serve({ config, signal, stdout, stderr }: Context): Promise<ExitStatus> {
  // V8 learns from the first burst of requests which objects live long, and is wrong about ours: it then puts them into
  // the old space, where they keep every later request's garbage alive. Seen in three of eight starts: 40 % more CPU for
  // each request and 12 ms at p99 instead of 4, until the end of the process (docs/performance.md).
  setFlagsFromString('--no-allocation-site-pretenuring');
  const settings = config();
  const { startService } = await import('../../compose/service.ts');
  const service = await startService(settings);
  stdout.write(`Dray serves at ${service.url} (API documentation: ${service.url}/docs)\n`);
  if (service.firstKey !== undefined)
    stdout.write(`The first key is in ${service.firstKey}; \`dray\` on this machine finds it there.\n`);
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
  // A database that does not answer must not keep us: what is not given back is taken up at the next start.
  const late = sleep(closeLimit, true, { ref: false });
  if (await Promise.race([service.close(), late]))
    stderr.write('Not everything could be given back in time; the next start takes it up.\n');
  return exitStatus.ok;
}
