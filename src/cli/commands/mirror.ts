import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { toPlan } from '../../api/plan-view.ts';
import type { Config } from '../../config.ts';
import { formatReference } from '../../core/reference.ts';
import { isAlive } from '../../lib/lock.ts';
import { createSlots } from '../../lib/slots.ts';
import { pairsOf } from '../../mirror/batch.ts';
import { followAnswer, reportPlan, runBatch, type Run, type Runs, watches } from '../batch.ts';
import { type ChoiceOptions, choiceOf, choiceOptions } from '../choice.ts';
import type { Client } from '../client.ts';
import type { Context, ExitStatus } from '../context.ts';
import { collect, readImages } from '../images.ts';
import { changeOf } from '../live.ts';
import { createSubmitter } from '../submitter.ts';
import { locateService, serviceOption, type ServiceOptions } from '../service.ts';

interface MirrorOptions extends ServiceOptions, ChoiceOptions {
  to: string[];
  from?: string;
  dryRun?: true;
  json?: true;
  wait: boolean;
  verbose?: true;
}

export function mirrorCommand(context: Context, done: (status: ExitStatus) => void): Command {
  const command = new Command('mirror')
    .summary('copy images to registries')
    .description(
      'Copies images to registries; names, tags and digests stay the same. Uses the named or running service, else does ' +
        'it by itself.\nExit status 0: everything is there, 75: not yet (--dry-run, --no-wait, a service that went away), 1: something failed.',
    )
    .argument('[image...]', 'what to mirror, as Docker writes it')
    .requiredOption(
      '--to <target>',
      'registry host, or host and path: quay.io, localhost:5000/mirror; repeat it for more',
      collect,
    )
    .option('--from <file>', 'read images from a file, one a line, # for comments; - is standard input')
    .option('--dry-run', 'look and tell, copy nothing')
    .option('--no-wait', 'ask the service and do not wait for the copies')
    .option('--json', 'print one JSON document an image and target')
    .option('-v, --verbose', "print what becomes of layers, and the copies' logs, to standard error")
    .addOption(serviceOption());
  for (const option of choiceOptions()) command.addOption(option);
  return command.action(async (images: string[], options: MirrorOptions) => {
    const listed = options.from === undefined ? [] : await readImages(options.from, context.signal);
    const all = [...images, ...listed];
    if (all.length === 0) command.error('error: name an image, or a file with images with --from');
    done(await mirror(context, all, options));
  });
}

async function mirror(context: Context, images: string[], options: MirrorOptions): Promise<ExitStatus> {
  const service = await locateService(context, options);
  if (!service && !options.wait)
    context.stderr.write('No service runs: the copies are made here, so this command waits for them.\n');
  // Whoever has one would look for the mirrors, and for their receipts, there.
  else if (!service && existsSync(context.config().keyFile))
    context.stderr.write('The service of this data folder does not run: the copies are made here.\n');
  const runs = service ? askService(service, context, options) : await copyHere(context, options);
  const several = new Set(options.to).size > 1;
  const items = pairsOf([...new Set(images)], [...new Set(options.to)]).map(({ image, to }) => ({
    ...{ image, to },
    name: several ? `${image} → ${to}` : image,
  }));
  return runBatch(context, items, runs, { ...options, patient: options.wait && !options.dryRun });
}

function askService(service: Client, context: Context, options: MirrorOptions): Runs {
  const { platforms, referrers } = choiceOf(options);
  const targets = new Set(options.to).size;
  const wanted = {
    ...(platforms && { platforms: [...platforms] }),
    ...(referrers !== undefined && { referrers: typeof referrers === 'string' ? referrers : [...referrers] }),
  };
  const inSlot = createSlots(watches);
  const planner = createSubmitter(service.plan, targets, wanted);
  const submitter = createSubmitter(service.submit, targets, wanted);
  return {
    run: async ({ name, image, to = '' }, report) => {
      if (options.dryRun) {
        const { plan } = await planner.submit({ image, to });
        if (plan) reportPlan(context, name, plan, report, options.verbose);
        return;
      }
      const answer = await submitter.submit({ image, to });
      await followAnswer(service, context, { ...options, name, inSlot }, answer, report);
    },
    // All are asked for before the first is watched.
    parallel: Infinity,
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
async function copyHere(context: Context, options: MirrorOptions): Promise<Runs> {
  const { config, signal, stderr } = context;
  const { createLocal } = await import('../../compose/local.ts');
  const settings: Config = config();
  const runDir = await makeRunDir(settings.childEnv['XDG_RUNTIME_DIR'] ?? tmpdir());
  const local = createLocal(settings, runDir);
  const choice = choiceOf(options);
  const run: Run = async ({ name, image, to = '' }, report) => {
    const wanted = { image, repository: to, choice, signal };
    if (options.dryRun) {
      const plan = toPlan(await local.forecast(wanted));
      return reportPlan(context, name, plan, report, options.verbose);
    }
    await local.mirror({
      ...wanted,
      onChange: (seen) => {
        const { wait, ...rest } = seen;
        const change = changeOf({
          ...{ ...rest, target: formatReference(seen.target) },
          ...(wait && { wait: { ...wait, until: wait.until.toISOString() } }),
        });
        // Without a single try it was there already.
        const untried = seen.attempts === 0 && !seen.wait;
        report(untried ? { ...change, state: 'present' } : change);
      },
      onLog: (line) => options.verbose && stderr.write(`${name}: ${line}\n`),
    });
  };
  const close = async () => {
    await local.close();
    await rm(runDir, { recursive: true, force: true });
  };
  return { run, parallel: settings.copies, stopped: 'Stopped.', close };
}
