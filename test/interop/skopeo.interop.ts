import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { createProcessExecutor } from '../../src/executor/process.ts';
import { describeExecutor } from '../conformance/executor.ts';
import { platformsIndex, push } from '../fixtures/image.ts';
import { provokeAll } from '../fixtures/provoke.ts';
import { startRegistry, type TestRegistry } from '../fixtures/registry.ts';
import { fetchTree } from '../fixtures/tree.ts';
import { settled, startDray, submit } from './service.ts';

const { go, skopeos } = inject('tools');
const others = [
  ...skopeos.map((path) => ({ name: `another ${basename(path)}`, path })),
  ...(go ? [{ name: 'the newest containers/image', path: go.skopeo }] : []),
];

// A file without any suite is an error.
if (others.length === 0) it.skip('with another Skopeo');

describe.each(others)('with $name', ({ name, path }) => {
  const folder = mkdtempSync(join(tmpdir(), 'dray-skopeo-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const runDir = join(folder, 'run');
  const leftovers = () => names(runDir);
  // The same suite that Debian's Skopeo has to pass: copies, progress, logins, classes of failure, stopping.
  const env = { PATH: process.env['PATH'] ?? '', XDG_DATA_HOME: folder };
  describeExecutor(name, () => createProcessExecutor({ skopeo: path, runDir, env }), leftovers);

  it('has its failures told apart, whichever end is at fault', { timeout: 300_000 }, async () => {
    expect(await provokeAll(path)).toEqual([]);
  });

  describe('the whole service', () => {
    let source: TestRegistry;
    let target: TestRegistry;
    let service: Awaited<ReturnType<typeof startDray>>;
    beforeAll(async () => {
      [source, target, service] = await Promise.all([
        startRegistry(),
        startRegistry(),
        startDray({ skopeo: { path } }),
      ]);
    });
    afterAll(() => Promise.all([service.end(), source.stop(), target.stop()]));

    it('mirrors, and counts every layer as done at the end', async () => {
      await push(source.url, 'lib/a', 'v1', platformsIndex(1, { size: 4_000_000 }));
      const { buildId } = await submit(service.url, `${source.host}/lib/a:v1`, target.host);
      const { last, looks } = await settled(service.url, buildId);
      expect(last).toMatchObject({ state: 'done', progress: { layersDone: 9, layersTotal: 9 } });
      const counts = looks.map(({ progress }) => progress.layersDone);
      expect(counts).toEqual(counts.toSorted((a, b) => a - b));
      expect(await fetchTree(target.url, 'lib/a', 'v1')).toEqual(await fetchTree(source.url, 'lib/a', 'v1'));
    });
  });
});

function names(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
