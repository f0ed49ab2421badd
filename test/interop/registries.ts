import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { freePort } from '../fixtures/registry.ts';

/** A registry server of another make than docker-registry. */
export interface Peer {
  /** `127.0.0.1:PORT`. */
  host: string;
  url: string;
  stop(): Promise<void>;
}

type Arguments = (port: number, folder: string) => Promise<string[]> | string[];

/** go-containerregistry's, with its data in memory. */
export const startCrane = (command: string) =>
  start(command, (port) => ['registry', 'serve', '--address', `127.0.0.1:${port}`]);

/** The same with its referrers API: it lists by the config's type, acknowledges no subject, and knows no empty repository. */
export const startReferrers = (command: string) => start(command, (port) => [`127.0.0.1:${port}`]);

/** Distribution v3, without logins. @param sparse takes an index whose children are missing. */
export const startDistribution = (command: string, { sparse = false } = {}) =>
  start(command, async (port, folder) => {
    const file = join(folder, 'config.json');
    const config = {
      version: 0.1,
      log: { level: 'error' },
      storage: { filesystem: { rootdirectory: join(folder, 'data') } },
      http: { addr: `127.0.0.1:${port}`, secret: 'test' },
      ...(sparse && { validation: { manifests: { indexes: { platforms: 'none' } } } }),
    };
    await writeFile(file, JSON.stringify(config));
    return ['serve', file];
  });

/** Olareg, with its data in memory. @param sparse takes an index whose children are missing. */
export const startOlareg = (command: string, { sparse = false } = {}) =>
  start(command, (port) => [
    ...['serve', '--addr', '127.0.0.1', '--port', `${port}`, '--store-type', 'mem'],
    ...(sparse ? ['--api-sparse-index'] : []),
  ]);

async function start(command: string, argumentsFor: Arguments): Promise<Peer> {
  const folder = await mkdtemp(join(tmpdir(), 'dray-peer-'));
  const port = await freePort();
  const child = spawn(command, await argumentsFor(port, folder), {
    cwd: folder,
    env: { PATH: process.env['PATH'], HOME: folder, OTEL_TRACES_EXPORTER: 'none' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const collect = (chunk: Buffer) => void (output += chunk.toString());
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  const ended = once(child, 'close');
  const url = `http://127.0.0.1:${port}`;
  async function stop(): Promise<void> {
    child.kill('SIGKILL');
    await ended;
    await rm(folder, { recursive: true, force: true });
  }
  try {
    await answers(`${url}/v2/`, child);
  } catch (error) {
    await stop();
    throw new Error(`${command} does not serve: ${output}`, { cause: error });
  }
  return { host: `127.0.0.1:${port}`, url, stop };
}

/** None of these servers says that it is ready, so there is nothing to wait for but its answer. */
async function answers(url: string, child: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 1000 && child.exitCode === null; tries++) {
    const status = await fetch(url).then(
      (answer) => answer.status,
      () => undefined,
    );
    if (status === 200) return;
    await setTimeout(20);
  }
  throw new Error('no answer');
}
