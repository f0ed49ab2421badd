import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import type { Config } from '../../config.ts';
import { asMirrorError } from '../../core/errors.ts';
import { formatReference } from '../../core/reference.ts';
import { isAlive } from '../../lib/lock.ts';
import { inParallel } from '../../lib/parallel.ts';
import type { MirrorEventView } from '../../wire/event.ts';
import type { Client } from '../client.ts';
import { type Context, exitStatus, type ExitStatus, printJson } from '../context.ts';
import { formatLayer } from '../format.ts';
import { changeOf, createView, type Row } from '../live.ts';
import { locateService, serviceOption, type ServiceOptions } from '../service.ts';
import { LostSight, watch } from '../watch.ts';

interface MirrorOptions extends ServiceOptions {
  to: string;
  dryRun?: true;
  json?: true;
  wait: boolean;
  verbose?: true;
}

/** Takes one image to the target; reports each change. Settles when there is nothing more to see. */
type Run = (image: string, report: (change: Partial<Row>) => void) => Promise<void>;

/** How many images are asked for at once; the service itself decides how many it copies. */
const submits = 16;
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
  const { signal, stderr } = context;
  const service = await locateService(context, options);
  if (!service && !options.wait)
    stderr.write('No service runs: the copies are made here, so this command waits for them.\n');
  const view = options.json ? undefined : await createView(context);
  const rows = [...new Set(images)].map((image): Row => ({
    image,
    state: 'waiting',
    startedAt: performance.now(),
  }));
  const { run, close } = service ? askService(service, context, options) : await copyHere(context, options);
  try {
    await inParallel(rows, service ? submits : context.config().copies, async (row) => {
      const change = (values: Partial<Row>) => {
        Object.assign(row, values);
        view?.show(row);
      };
      change({ startedAt: performance.now() });
      try {
        await run(row.image, change);
      } catch (error) {
        if (signal.aborted) return;
        change({ state: 'failed', failure: asMirrorError(error).toFailure() });
      }
      change({ endedAt: performance.now() });
      if (options.json) printJson(context, toJson(row));
    });
  } finally {
    view?.end(rows);
    await close();
  }
  if (signal.aborted) {
    stderr.write(service ? 'Stopped watching; the service goes on with its copies.\n' : 'Stopped.\n');
    return exitStatus.interrupted;
  }
  return statusOf(rows);
}

function statusOf(rows: readonly Row[]): ExitStatus {
  if (rows.some(({ state }) => state === 'failed' || state === 'cancelled')) return exitStatus.failed;
  return rows.every(({ state }) => state === 'done' || state === 'present')
    ? exitStatus.ok
    : exitStatus.pending;
}

function toJson({
  image,
  target,
  state,
  id,
  progress,
  failure,
  note,
  startedAt,
  endedAt = startedAt,
}: Row): object {
  return { image, target, state, id, progress, failure, note, milliseconds: Math.round(endedAt - startedAt) };
}

function askService(service: Client, { signal, stderr }: Context, options: MirrorOptions) {
  const run: Run = async (image, report) => {
    const { target, cached, mirrorId: id } = await service.submit(image, options.to, options.dryRun === true);
    report({ target, ...(id !== undefined && { id }) });
    if (cached) return report({ state: 'present' });
    if (options.dryRun || id === undefined) return report({ state: 'missing' });
    report({ state: 'queued' });
    if (!options.wait) return;
    try {
      const onEvent = (event: MirrorEventView) =>
        event.type === 'layer' && stderr.write(`${image}: ${formatLayer(event)}\n`);
      await watch(service, id, (seen) => report(changeOf(seen)), {
        signal,
        ...(options.verbose && { onEvent }),
      });
    } catch (error) {
      if (!(error instanceof LostSight)) throw error;
      return report({ note: error.message });
    }
    if (options.verbose)
      stderr.write(
        await service
          .log(id)
          .catch((error: unknown) => `${image}: no log: ${asMirrorError(error).message}\n`),
      );
  };
  return { run, close: () => Promise.resolve() };
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
async function copyHere({ config, signal, stderr }: Context, options: MirrorOptions) {
  const { createLocal } = await import('../../compose.ts');
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
        report(
          seen.attempts > 0 ? change : { ...change, state: seen.state === 'done' ? 'present' : 'missing' },
        );
      },
      onLog: (line) => options.verbose && stderr.write(`${image}: ${line}\n`),
    });
  };
  const close = async () => {
    await local.close();
    await rm(runDir, { recursive: true, force: true });
  };
  return { run, close };
}
