import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import type { Config } from '../../config.ts';
import { formatReference } from '../../core/reference.ts';
import { isAlive } from '../../lib/lock.ts';
import { followAnswer, runBatch, type Run, type Runs, submits } from '../batch.ts';
import type { Client } from '../client.ts';
import type { Context, ExitStatus } from '../context.ts';
import { changeOf } from '../live.ts';
import { locateService, serviceOption, type ServiceOptions } from '../service.ts';

interface MirrorOptions extends ServiceOptions {
  to: string;
  dryRun?: true;
  json?: true;
  wait: boolean;
  verbose?: true;
}

export function mirrorCommand(context: Context, done: (status: ExitStatus) => void): Command {
  return new Command('mirror')
    .summary('copy images to a registry')
    .description(
      'Copies images to a registry; names, tags and digests stay the same. Uses the named or running service, else does ' +
        'it by itself.\nExit status 0: everything is there, 75: not yet (--dry-run, --no-wait, a service that went away), 1: something failed.',
    )
    .argument('<image...>', 'what to mirror, as Docker writes it')
    .requiredOption('--to <target>', 'registry host, or host and path: quay.io, localhost:5000/mirror')
    .option('--dry-run', 'look and tell, copy nothing')
    .option('--no-wait', 'ask the service and do not wait for the copies')
    .option('--json', 'print one JSON document an image')
    .option('-v, --verbose', "print what becomes of layers, and the copies' logs, to standard error")
    .addOption(serviceOption())
    .action(async (images: string[], options: MirrorOptions) => done(await mirror(context, images, options)));
}

async function mirror(context: Context, images: string[], options: MirrorOptions): Promise<ExitStatus> {
  const service = await locateService(context, options);
  if (!service && !options.wait)
    context.stderr.write('No service runs: the copies are made here, so this command waits for them.\n');
  const runs = service ? askService(service, context, options) : await copyHere(context, options);
  return runBatch(context, images, runs, { ...options, patient: options.wait && !options.dryRun });
}

function askService(service: Client, context: Context, options: MirrorOptions): Runs {
  const run: Run = async (image, report) =>
    followAnswer(
      service,
      context,
      { ...options, image, dryRun: options.dryRun === true },
      await service.submit(image, options.to, options.dryRun === true),
      report,
    );
  return {
    run,
    parallel: submits,
    stopped: 'Stopped watching; the service goes on with its copies.',
    close: () => Promise.resolve(),
  };
}

/**
 * A folder for the copies' login files, with our process id in its name. Those of commands that were killed, which
 * could not remove theirs, go now.
 */
async function makeRunDir(base: string): Promise<string> {
  for (const name of await readdir(base)) {
    const pid = /^dray-run-([0-9]+)-/.exec(name)?.[1];
    // Another user's can't be removed, and is not ours to.
    if (pid && !isAlive(Number(pid)))
      await rm(join(base, name), { recursive: true, force: true }).catch(() => undefined);
  }
  return mkdtemp(join(base, `dray-run-${process.pid}-`));
}

/** The same copies in this process, without a database. */
async function copyHere({ config, signal, stderr }: Context, options: MirrorOptions): Promise<Runs> {
  const { createLocal } = await import('../../compose/local.ts');
  const settings: Config = config();
  const runDir = await makeRunDir(settings.childEnv['XDG_RUNTIME_DIR'] ?? tmpdir());
  const local = createLocal(settings, runDir);
  const run: Run = async (image, report) => {
    await local.mirror({
      image,
      repository: options.to,
      dryRun: options.dryRun === true,
      signal,
      onChange: (seen) => {
        const { wait, ...rest } = seen;
        const change = changeOf({
          ...{ ...rest, target: formatReference(seen.target) },
          ...(wait && { wait: { ...wait, until: wait.until.toISOString() } }),
        });
        // Without a single try it was there already, or this is a dry run.
        const untried = seen.attempts === 0 && !seen.wait;
        report(untried ? { ...change, state: seen.state === 'done' ? 'present' : 'missing' } : change);
      },
      onLog: (line) => options.verbose && stderr.write(`${image}: ${line}\n`),
    });
  };
  const close = async () => {
    await local.close();
    await rm(runDir, { recursive: true, force: true });
  };
  return { run, parallel: settings.copies, stopped: 'Stopped.', close };
}
