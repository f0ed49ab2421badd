import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '../test/fixtures/registry.ts';
import { dray } from '../test/fixtures/service.ts';
import { checkArrival, pushNoise } from './cold.ts';
import { bareCopy, type Image, nameOf, type Run, runCommand } from './skopeo.ts';
import type { Stage } from './stage.ts';
import { median, megabytes, type Row, seconds } from './table.ts';

const rounds = 7;
const layers = [1.4, 0.5, 0.1];
/** What the command may add to a bare copy: milliseconds, bytes. */
const target = { time: 500, memory: 150e6 };

/** `dray mirror` where no service runs, beside the same copy with nothing but Skopeo. */
export async function measureCommand(stage: Stage, say: (text: string) => void): Promise<Row[]> {
  const [source, home, port] = await Promise.all([stage.registry(), stage.folder(), freePort()]);
  const image: Image = { host: source.host, path: 'bench/command', tag: '1' };
  const pushed = await pushNoise(source, image, layers);
  const config = join(home, 'dray.yaml');
  await writeFile(config, '');
  const env = { PATH: process.env['PATH'] ?? '', HOME: home };
  const drayEnv = { ...env, DRAY_CONFIG: config, DRAY_DATA_DIR: join(home, 'data'), DRAY_PORT: String(port) };

  const ways = {
    bare: (host: string) =>
      runCommand(stage, 'skopeo', bareCopy(image, { ...image, host }), env, { watched: true }),
    dray: (host: string) =>
      runCommand(stage, dray, ['mirror', nameOf(image), '--to', host], drayEnv, { watched: true }),
  };
  const seen: Record<keyof typeof ways, Run[]> = { bare: [], dray: [] };
  for (let round = 1; round <= rounds; round++)
    for (const way of ['bare', 'dray'] as const) {
      const registry = await stage.registry();
      const run = await ways[way](registry.host);
      seen[way].push(run);
      await checkArrival(registry, pushed);
      await registry.stop();
      say(`round ${round}, ${way}: ${seconds(run.took)}, ${megabytes(run.peak)}`);
    }

  const middle = (way: keyof typeof ways, key: keyof Run) => median(seen[way].map((run) => run[key]));
  const more = {
    time: middle('dray', 'took') - middle('bare', 'took'),
    memory: middle('dray', 'peak') - middle('bare', 'peak'),
  };
  return [
    {
      what: `command: wall time, 2 MB, median of ${rounds}`,
      dray: seconds(middle('dray', 'took')),
      baseline: seconds(middle('bare', 'took')),
      ratio: `+${seconds(more.time)}`,
      target: `≤ +${seconds(target.time)}`,
      met: more.time <= target.time,
    },
    {
      what: 'command: peak memory, Skopeo included',
      dray: megabytes(middle('dray', 'peak')),
      baseline: megabytes(middle('bare', 'peak')),
      ratio: `+${megabytes(more.memory)}`,
      target: `≤ +${megabytes(target.memory)}`,
      met: more.memory <= target.memory,
    },
  ];
}
