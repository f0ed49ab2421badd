import { expect, it } from 'vitest';
import type { Digest } from '../core/digest.ts';
import type { Progress } from '../core/mirror.ts';
import type { LayerChange } from '../db/events.ts';
import type { Claim, MirrorStore } from '../db/mirrors.ts';
import { createReport } from './report.ts';
import type { Tree } from './tree.ts';

const digest = (n: number): Digest => `sha256:${String(n).repeat(64)}`;
const tree = {
  layers: new Map([
    [digest(1), 1000],
    [digest(2), 500],
  ]),
  configs: new Map([[digest(3), 10]]),
} as unknown as Tree;
const claim = {
  number: 2,
  mirror: { id: 'mr-1', progress: { layersDone: 1, layersTotal: 2, bytesDone: 1100, bytesTotal: 1510 } },
} as Claim;

interface Written {
  progress: Progress;
  layers: LayerChange[];
}

/** A store whose first writes fail. */
function store(failures: number) {
  const written: Written[] = [];
  const first = Promise.withResolvers<undefined>();
  const progress = async (...[, , done, layers]: Parameters<MirrorStore['progress']>) => {
    if (failures-- > 0) throw new Error('The database is away.');
    written.push({ progress: done, layers: [...(layers ?? [])] });
    first.resolve(undefined);
    return true;
  };
  const appendLog = () => Promise.resolve(true);
  return { written, first: first.promise, store: { progress, appendLog } as unknown as MirrorStore };
}

it('takes back nothing that an earlier try has told', async () => {
  const { written, store: records } = store(0);
  const report = createReport(claim, records, { onLost: () => undefined, onError: () => undefined });
  report.phase('copying');
  report.event({ type: 'blob', digest: digest(2), state: 'started' });
  await report.close(false);
  expect(written.map(({ progress }) => progress)).toEqual([claim.mirror.progress]);
});

it('loses no layer when a write fails, and writes none twice', async () => {
  const { written, first, store: records } = store(1);
  const failed = Promise.withResolvers<unknown>();
  const report = createReport(claim, records, { onLost: () => undefined, onError: failed.resolve });
  report.tree(tree);
  report.event({ type: 'blob', digest: digest(1), state: 'started' });
  await failed.promise;
  report.event({ type: 'blob', digest: digest(1), state: 'done' });
  await first;
  await report.close(true);
  expect(written.flatMap(({ layers }) => layers.map(({ size, state }) => `${size} ${state}`))).toEqual([
    ...['1000 started', '1000 done', '500 skipped'],
  ]);
  expect(written.at(-1)?.progress).toEqual({
    layersDone: 2,
    layersTotal: 2,
    bytesDone: 1510,
    bytesTotal: 1510,
  });
});
