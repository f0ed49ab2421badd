import { existsSync, readdirSync } from 'node:fs';
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MirrorError } from '../core/errors.ts';
import type { Guard } from '../lib/guard.ts';
import { createKeyedMutex } from '../lib/mutex.ts';
import { run as runHere } from '../lib/spawn.ts';
import type { CopyEvent, CopyJob, Endpoint, Executor } from './executor.ts';
import { classifyFailure, stoodStill, throttledBy, tookTooLong } from './failures.ts';
import { createOutputReader } from './output.ts';
import { authFile, type JobFiles, skopeoArguments } from './skopeo.ts';
import { bytesMoved, createStallWatch } from './stall.ts';

export interface ProcessExecutorOptions {
  /** Command or path of Skopeo. */
  skopeo: string;
  /** Folder for the jobs' auth files; nobody else may write to it. */
  runDir: string;
  /** What a child may see of our environment. */
  env: Record<string, string>;
  /** How commands are started; a service does not start them itself. */
  run?: typeof runHere;
  /** What Skopeo's connections go through. It follows redirects and resolves names by itself. */
  guard?: Guard;
}

/** Debian's place for it; util-linux is there on every system of ours. */
const setpriv = '/usr/bin/setpriv';

/** Milliseconds between two looks at how much the child has sent. */
const countEvery = 200;

/** Runs copies as child processes on this machine. */
export function createProcessExecutor({
  skopeo,
  runDir,
  env,
  run = runHere,
  guard,
}: ProcessExecutorOptions): Executor {
  // A claim that was lost may still be stopping its Skopeo when the next one starts: never two in one folder.
  const jobs = createKeyedMutex();
  return {
    run: (job, onEvent, signal) => jobs.run(job.id, () => copy(job, onEvent, signal)),
  };

  async function copy(job: CopyJob, onEvent: (event: CopyEvent) => void, signal: AbortSignal): Promise<void> {
    if (!/^mr-[0-9a-f]+$/.test(job.id)) throw new MirrorError('internal', `${job.id} is no mirror id.`);
    const folder = join(runDir, job.id);
    const limit = AbortSignal.timeout(job.timeLimit * 1000);
    const output = createOutputReader();
    const stall = createStallWatch(job.stallLimit * 1000);
    // Aborted with what makes going on pointless.
    const halt = new AbortController();
    let finished = 0;
    const pass = await guard?.admit(job.source.insecure || job.target.insecure);
    let counter: NodeJS.Timeout | undefined;
    const look = (pid: number) => {
      const moved = bytesMoved(pid);
      // Nearly all that it writes goes to the target.
      if (moved) onEvent({ type: 'sent', bytes: moved.written });
      if (stall.stalled(moved)) halt.abort(stoodStill(job, moved !== undefined, output.awaited()));
    };
    const hear = (text: string) => {
      stall.heard();
      for (const event of output.read(text)) {
        if (event.type === 'blob' && event.state === 'started') stall.began();
        if (event.type === 'blob' && (event.state === 'done' || event.state === 'mounted')) finished++;
        onEvent(event);
      }
      const throttle = output.throttled();
      if (throttle) halt.abort(throttledBy(throttle, job));
    };
    try {
      const files = await writeFiles(folder, job);
      // Its own empty home: Skopeo looks there for logins that are not this job's.
      const childEnv = { ...env, ...pass?.env, HOME: folder };
      const exit = await run(...dyingWithUs(skopeo, skopeoArguments(job, files)), {
        env: childEnv,
        signal: AbortSignal.any([signal, limit, halt.signal]),
        onLine: hear,
        onStart: (pid) => (counter = setInterval(look, countEvery, pid)),
      });
      if (exit.code !== undefined) onEvent({ type: 'exit', code: exit.code });
      if (exit.code === 0) return;
      if (signal.aborted) throw new MirrorError('cancelled', 'The copy was stopped.');
      if (halt.signal.aborted) throw halt.signal.reason as MirrorError;
      if (limit.aborted) throw tookTooLong(job, finished);
      if (exit.code === 127 && output.fatal() === '') throw missing(skopeo);
      throw classifyFailure(
        output.fatal(),
        job,
        exit.signal ? `by ${exit.signal}` : `with status ${exit.code}`,
        await pass?.end(),
      );
    } catch (error) {
      throw (error as NodeJS.ErrnoException).code === 'ENOENT' ? missing(skopeo, error) : error;
    } finally {
      clearInterval(counter);
      await pass?.end();
      await rm(folder, { recursive: true, force: true });
    }
  }
}

function missing(skopeo: string, cause?: unknown): MirrorError {
  return new MirrorError('skopeo_missing', `There is no command ${skopeo}.`, { cause });
}

async function writeFiles(folder: string, job: CopyJob): Promise<JobFiles> {
  // What a crashed run of the same mirror left must not be mixed in.
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const write = async (side: 'source' | 'target', { registry, credential, caFile }: Endpoint) => {
    const auth = join(folder, `${side}-auth.json`);
    const certs = join(folder, `${side}-certs`);
    if (credential) await writeFile(auth, authFile(registry, credential), { mode: 0o600, flag: 'wx' });
    if (caFile !== undefined) {
      await mkdir(certs);
      await symlink(caFile, join(certs, 'ca.crt'));
    }
    return { auth, certs };
  };
  const source = await write('source', job.source);
  const target = await write('target', job.target);
  return {
    sourceAuth: source.auth,
    sourceCerts: source.certs,
    targetAuth: target.auth,
    targetCerts: target.certs,
  };
}

/** On Linux, util-linux's setpriv has the kernel kill the child when we die, however we die. */
function dyingWithUs(command: string, args: string[]): [string, string[]] {
  return process.platform === 'linux' && existsSync(setpriv)
    ? [setpriv, ['--pdeathsig', 'KILL', command, ...args]]
    : [command, args];
}

/**
 * Ends what a crashed service left: Skopeo processes whose arguments name a file below `runDir`, and the
 * folders with their auth files. To be called by the owner of the data folder, before any copy starts.
 * @returns how many processes were ended.
 */
export async function sweep(runDir: string): Promise<number> {
  let ended = 0;
  for (const name of await readdirOrNothing('/proc')) {
    if (!/^[0-9]+$/.test(name) || Number(name) === process.pid) continue;
    const environment = await readFile(`/proc/${name}/environ`, 'utf8').catch(() => '');
    if (!environment.split('\0').some((variable) => variable.startsWith(`HOME=${runDir}/`))) continue;
    try {
      process.kill(Number(name), 'SIGKILL');
      ended++;
    } catch {
      // It ended by itself meanwhile.
    }
  }
  for (const name of await readdirOrNothing(runDir))
    await rm(join(runDir, name), { recursive: true, force: true });
  return ended;
}

async function readdirOrNothing(folder: string): Promise<string[]> {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
