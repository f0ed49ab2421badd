import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { describeExecutor } from '../../test/conformance/executor.ts';
import { startLauncher } from '../lib/launcher.ts';
import { createProcessExecutor, sweep } from './process.ts';

const folder = mkdtempSync(join(tmpdir(), 'dray-run-'));
const runDir = join(folder, 'run');
const env = { PATH: process.env['PATH'] ?? '', XDG_DATA_HOME: folder };
afterAll(() => rmSync(folder, { recursive: true }));

const launcher = startLauncher();
afterAll(() => launcher.close());

const leftovers = () => (existsSync(runDir) ? readdirSync(runDir) : []);
const options = { skopeo: 'skopeo', runDir, env };
describeExecutor('process', () => createProcessExecutor(options), leftovers);
describeExecutor(
  'process by a launcher',
  () => createProcessExecutor({ ...options, run: launcher.run }),
  leftovers,
);

it('says that Skopeo is missing, and how to get it', async () => {
  const executor = createProcessExecutor({ skopeo: 'no-such-skopeo', runDir, env });
  const end = { registry: 'localhost:1', path: 'a', insecure: true };
  const job = {
    id: 'mr-0',
    digest: `sha256:${'0'.repeat(64)}` as const,
    source: end,
    target: end,
    timeLimit: 5,
    stallLimit: 5,
  };
  await expect(executor.run(job, () => undefined, new AbortController().signal)).rejects.toMatchObject({
    code: 'skopeo_missing',
    remedy: expect.stringContaining('apt install skopeo') as string,
  });
});

it('sweep ends what a crashed service left running, and removes its files', async () => {
  const job = join(runDir, 'mr-1');
  mkdirSync(job, { recursive: true });
  writeFileSync(join(job, 'source-auth.json'), '{}');
  const orphan = spawn('sleep', ['1000'], { env: { ...env, HOME: job } });
  const bystander = spawn('sleep', ['1000'], { env: { ...env, HOME: folder } });
  const died = once(orphan, 'exit');
  await once(bystander, 'spawn');
  expect(await sweep(runDir)).toBe(1);
  expect(await died).toEqual([null, 'SIGKILL']);
  expect(readdirSync(runDir)).toEqual([]);
  expect(bystander.exitCode ?? bystander.signalCode).toBeNull();
  bystander.kill();
});
