import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TestProject } from 'vitest/node';
import { newSecret, registeredSecrets } from '../fixtures/secrets.ts';
import { judge } from './judge.ts';

/**
 * Before the suite: a folder for evidence, and a collector beside it. After the suite: whatever secret a test has
 * registered must not be found in the evidence, or the run fails.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const evidence = await mkdtemp(join(tmpdir(), 'dray-evidence-'));
  const canary = { value: newSecret('canary'), label: 'canary' };
  await mkdir(join(evidence, 'kept'));
  await writeFile(
    join(evidence, 'kept', 'canary.txt'),
    `Basic ${Buffer.from(`someone:${canary.value}`).toString('base64')}\n`,
  );
  // Workers inherit it. Only from here on do secrets and evidence go there.
  process.env['TEST_EVIDENCE'] = evidence;
  const collector = fork(fileURLToPath(new URL('collector.ts', import.meta.url)), { execArgv: [] });
  const ended = once(collector, 'exit') as Promise<[number | null]>;
  await Promise.race([once(collector, 'message'), ended]);

  return async () => {
    if (collector.connected) collector.send('end');
    const [code] = await ended;
    const complaints = await judge(evidence, registeredSecrets(), {
      canary,
      isWhole: await isWhole(project),
    });
    if (code !== 0) complaints.push(`The collector of evidence ended with ${code}.`);
    if (complaints.length === 0) return rm(evidence, { recursive: true });
    // Vitest fails for a teardown that throws; that it goes on doing so is not left to it.
    process.exitCode = 1;
    const list = complaints.map((complaint) => `\n  - ${complaint}`).join('');
    throw new Error(`Secrets, or nothing to search for them, in ${join(evidence, 'kept')}:${list}`);
  };
}

/** Whether every test of every file has run. */
async function isWhole(project: TestProject): Promise<boolean> {
  if (project.vitest.config.testNamePattern) return false;
  const ran = new Set(project.vitest.state.getTestModules().map(({ moduleId }) => moduleId));
  const { testFiles } = await project.globTestFiles();
  return testFiles.every((file) => ran.has(file));
}
