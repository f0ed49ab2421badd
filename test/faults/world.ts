import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { keepDatabase } from '../fixtures/evidence.ts';
import { processesWith } from '../fixtures/processes.ts';
import { startRegistry, type TestRegistry } from '../fixtures/registry.ts';
import { startService, type TestService } from '../fixtures/service.ts';
import type { Upstream } from './proxy.ts';

/** Two registries and a service that outlive many runs. */
export interface FaultWorld {
  source: TestRegistry;
  target: TestRegistry;
  /** The target with a disk that can be filled, where this machine lets us have one. */
  targetUpstream: Upstream;
  dataDir: string;
  /** The service; waits while it is on its way back. */
  service(): Promise<TestService>;
  /** Logs in to these hosts, and to no other. */
  logIn(logins: { host: string; username: string; password: string }[]): Promise<void>;
  /** Kills the service and starts it again. Resolves when it is dead, and so are its children. */
  killService(): Promise<string[]>;
  /** Kills the Skopeo that copies a repository. @returns how many there were. */
  killSkopeo(repository: string): number;
  /** What all its services have written. */
  output(): string;
  stop(): Promise<void>;
}

const schema = new URL('../../dray.schema.json', import.meta.url);

/** Whether dray.yaml has a setting, named by its path. */
export function hasSetting(...path: string[]): boolean {
  let at: unknown = JSON.parse(readFileSync(schema, 'utf8'));
  for (const name of path)
    at = (at as { properties?: Record<string, unknown> } | undefined)?.properties?.[name];
  return at !== undefined;
}

/** Milliseconds within which children of a killed service must be dead. */
const dying = 3000;

export async function createFaultWorld(): Promise<FaultWorld> {
  const dataDir = await mkdtemp(join(tmpdir(), 'dray-faults-'));
  const config = join(dataDir, 'dray.yaml');
  const dockerConfig = join(dataDir, 'docker.json');
  const settings = {
    freshness: 0,
    submitBudget: 3,
    dockerConfig,
    skopeo: { timeLimit: 120, ...(hasSetting('skopeo', 'stallLimit') && { stallLimit: 3 }) },
    ...(hasSetting('retry') && { retry: { tries: 5, firstPause: 0.05, longestPause: 1 } }),
    ...(hasSetting('pacing') && { pacing: { firstPause: 0.2, longestPause: 1, patience: 20 } }),
  };
  // JSON is YAML.
  await writeFile(config, JSON.stringify(settings));
  await writeFile(dockerConfig, '{}');
  const disk = await mountDisk();
  const start = () => startService(dataDir, { DRAY_CONFIG: config });
  const [source, target, first] = await Promise.all([
    startRegistry(),
    startRegistry(disk === undefined ? {} : { parent: disk.folder }),
    start(),
  ]);
  let service = Promise.resolve(first);
  let current = first;
  let earlier = '';

  return {
    source,
    target,
    targetUpstream: { ...target, ...(disk && { fill: disk.fill }) },
    dataDir,
    service: () => service,
    async logIn(logins) {
      const auths = logins.map(({ host, username, password }) => [
        host,
        { auth: Buffer.from(`${username}:${password}`).toString('base64') },
      ]);
      await writeFile(dockerConfig, JSON.stringify({ auths: Object.fromEntries(auths) as unknown }));
    },
    async killService() {
      // One that is still on its way back is killed when it is there.
      const killed = await service;
      const next = Promise.withResolvers<TestService>();
      service = next.promise;
      service.catch(() => undefined);
      await killed.stop('SIGKILL');
      const orphans = await waitForDeaths(`HOME=${join(dataDir, 'run')}/`);
      earlier += killed.output();
      start().then((started) => {
        current = started;
        next.resolve(started);
      }, next.reject);
      return orphans.map((pid) => `Process ${pid} has outlived its service by ${dying} ms.`);
    },
    killSkopeo(repository) {
      const found = processesWith(`HOME=${join(dataDir, 'run')}/mr-`).filter((pid) => {
        const words = argumentsOf(pid);
        return (
          words[0]?.endsWith('skopeo') === true && words.some((word) => word.includes(`/${repository}@`))
        );
      });
      for (const pid of found) process.kill(pid, 'SIGKILL');
      return found.length;
    },
    output: () => earlier + current.output(),
    async stop() {
      // Each is ended, whatever became of the others: a signal to all of us has reached the service too.
      const ends = await Promise.allSettled([
        service.then((running) => running.stop()),
        source.stop(),
        target.stop(),
      ]);
      await keepDatabase('pglite', join(dataDir, 'db'));
      await rm(dataDir, { recursive: true, force: true });
      await disk?.unmount();
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
    },
  };
}

async function waitForDeaths(text: string): Promise<number[]> {
  for (let waited = 0; ; waited += 20) {
    const alive = processesWith(text);
    if (alive.length === 0 || waited >= dying) return alive;
    await sleep(20);
  }
}

function argumentsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    // It ended between two reads.
    return [];
  }
}

interface Disk {
  folder: string;
  fill: (full: boolean) => Promise<void>;
  unmount: () => Promise<void>;
}

const roomy = 2_000_000_000;
/** Bytes that a full disk still has: enough to begin something, not enough to end it. */
const remnant = 16_384;

/** A disk of our own whose size can be changed; only root may mount one, and not in every container. */
async function mountDisk(): Promise<Disk | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'dray-faults-disk-'));
  const mount = (...options: string[]) =>
    execFileSync('mount', ['-t', 'tmpfs', '-o', options.join(','), 'none', folder], { stdio: 'pipe' });
  try {
    mount(`size=${roomy}`);
  } catch {
    await rm(folder, { recursive: true });
    return undefined;
  }
  return {
    folder,
    async fill(full) {
      const { blocks, bfree, bsize } = statfsSync(folder);
      mount('remount', `size=${full ? (blocks - bfree) * bsize + remnant : roomy}`);
    },
    async unmount() {
      // Files of a process that has just ended may keep it busy for a moment.
      for (let tries = 0; tries < 50; tries++) {
        try {
          execFileSync('umount', [folder], { stdio: 'pipe' });
          break;
        } catch {
          await sleep(100);
        }
      }
      if (existsSync(folder)) await rm(folder, { recursive: true, force: true });
    },
  };
}
