import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkArrival, pushNoise } from './cold.ts';
import { generateLoad } from './load.ts';
import { readMemory, resetPeak } from './usage.ts';
import { mirror, mirrorRequest } from './request.ts';
import { nameOf } from './skopeo.ts';
import type { Stage } from './stage.ts';
import { megabytes, type Row, seconds } from './table.ts';

const requests = 5000;
const layers = [12, 6, 2];

/** Milliseconds after which memory that is given back has been given back. */
const calm = 5000;

/** Everyone asks for the same cold image at the same moment, each on a connection of its own. */
export async function measureStampede(stage: Stage, say: (text: string) => void): Promise<Row[]> {
  const folder = await stage.folder();
  const { wrapper, copies } = await countingSkopeo(folder);
  const [source, target, service] = await Promise.all([
    stage.registry(),
    stage.registry(),
    stage.service({ settings: `skopeo: { path: ${JSON.stringify(wrapper)} }\n` }),
  ]);
  const image = { host: source.host, path: 'bench/stampede', tag: '1' };
  const pushed = await pushNoise(source, image, layers);
  resetPeak(service.pid);
  const memory = () => megabytes(readMemory(service.pid)?.resident ?? NaN);
  const before = memory();
  const load = await generateLoad(stage, {
    port: Number(new URL(service.url).port),
    path: '/v1alpha2/container',
    body: mirrorRequest(nameOf(image), target.host, service.key),
    connections: requests,
  });
  if (load.example) say(`an answer that was not 200: ${load.example.slice(0, 300)}`);
  const answered = memory();
  await mirror(service, nameOf(image), target.host);
  await checkArrival(target, pushed);
  const peak = megabytes(readMemory(service.pid)?.peak ?? NaN);
  // There is no event to wait for: what is wanted is the memory a while after everything is over.
  await sleep(calm);
  const runs = await copies();
  return [
    { what: 'stampede: Skopeo runs', dray: String(runs), target: '1', met: runs === 1 },
    {
      what: `stampede: errors of ${requests} requests at once`,
      dray: String(load.failures),
      target: '0',
      met: load.failures === 0 && load.requests === requests && load.requestIds === requests,
    },
    {
      what: 'stampede: mirrors in the answers',
      dray: String(load.buildIds.length),
      target: '1',
      met: load.buildIds.length === 1,
    },
    { what: 'stampede: half of the answers after', dray: seconds(load.p50) },
    { what: 'stampede: last answer after', dray: seconds(load.took) },
    {
      what: 'stampede: memory before, answered, peak',
      dray: `${before}, ${answered}, ${peak}`,
    },
    { what: `stampede: memory ${calm / 1000} s after`, dray: memory() },
  ];
}

/** A Skopeo that notes each of its runs. */
async function countingSkopeo(folder: string): Promise<{ wrapper: string; copies: () => Promise<number> }> {
  const wrapper = join(folder, 'skopeo');
  const notes = join(folder, 'runs');
  await writeFile(notes, '');
  await writeFile(wrapper, `#!/bin/sh\necho "$*" >> '${notes}'\nexec skopeo "$@"\n`);
  await chmod(wrapper, 0o755);
  const copies = async () => (await readFile(notes, 'utf8')).match(/^(?:--\S+ )*copy /gm)?.length ?? 0;
  return { wrapper, copies };
}
