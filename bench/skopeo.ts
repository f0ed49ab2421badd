import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { skopeoArguments } from '../src/executor/skopeo.ts';
import { watchTree } from './usage.ts';
import type { Stage } from './stage.ts';

/** How a command went. */
export interface Run {
  /** Milliseconds from spawn to the end. */
  took: number;
  /** Bytes: the peaks of it and of all that it started, together. */
  peak: number;
}

/** An image, by the parts of its name. */
export interface Image {
  host: string;
  path: string;
  tag: string;
}

/**
 * The arguments with which Dray's executor would have Skopeo copy, less `--debug`, which is for progress; tag to
 * tag, so that both leave the same behind.
 */
export function bareCopy(source: Image, target: Image): string[] {
  const end = ({ host: registry, path }: Image) => ({ registry, path, insecure: true });
  const none = { sourceAuth: '', sourceCerts: '', targetAuth: '', targetCerts: '' };
  const job = { id: '', digest: `sha256:${'0'.repeat(64)}` as const, timeLimit: 0, stallLimit: 0 };
  const options = skopeoArguments({ ...job, source: end(source), target: end(target) }, none).filter(
    (argument) => argument !== '--debug' && !argument.startsWith('docker://'),
  );
  return [...options, ...[source, target].map((image) => `docker://${nameOf(image)}`)];
}

export function nameOf({ host, path, tag }: Image): string {
  return `${host}/${path}:${tag}`;
}

/**
 * Runs a command to its end; its memory is looked at only where that is what is measured, since looking costs time.
 * @throws Error with what it said when it fails.
 */
export async function runCommand(
  stage: Stage,
  command: string,
  args: readonly string[],
  env: Record<string, string>,
  { watched }: { watched: boolean },
): Promise<Run> {
  const started = performance.now();
  const spawned = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const { made: child, end } = await stage.keep(Promise.resolve(spawned), stopChild);
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const tree = watched ? watchTree(child.pid as number) : undefined;
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    const took = performance.now() - started;
    if (code !== 0) throw new Error(`${command} ${args.join(' ')} failed (${code}):\n${said}`);
    return { took, peak: tree?.stop() ?? NaN };
  } finally {
    tree?.stop();
    await end();
  }
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  child.kill();
  await once(child, 'exit');
}
