import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { manifestOf, noiseLayer, push } from '../test/fixtures/image.ts';
import { generateLoad, type Load } from './load.ts';
import { mirror, mirrorRequest } from './request.ts';
import type { Stage } from './stage.ts';
import { median, milliseconds, rate, type Row, times } from './table.ts';
import { readCpuTime } from './usage.ts';

const rounds = 3;
const load = { path: '/v1alpha2/container', connections: 64, seconds: 10, warmUp: 2 };

/** An image that is there already, asked for over and over, beside a bare JSON route of the same web server. */
export async function measureHot(stage: Stage, say: (text: string) => void): Promise<Row[]> {
  const [source, target, service, bare] = await Promise.all([
    stage.registry(),
    stage.registry(),
    stage.service(),
    startBare(stage),
  ]);
  await push(source.url, 'bench/hot', '1', manifestOf([noiseLayer(Date.now(), 100_000)]));
  const image = `${source.host}/bench/hot:1`;
  await mirror(service, image, target.host);
  const body = mirrorRequest(image, target.host, service.key);

  const servers = {
    dray: { url: service.url, pid: service.pid },
    bare,
  };
  const seen: Record<keyof typeof servers, (Load & { cost: number })[]> = { dray: [], bare: [] };
  for (let round = 1; round <= rounds; round++)
    for (const name of ['dray', 'bare'] as const) {
      const { url, pid } = servers[name];
      const before = readCpuTime(pid);
      const measured = await generateLoad(stage, { ...load, body, port: Number(new URL(url).port) });
      const cost = ((readCpuTime(pid) - before) / measured.answers) * 1000;
      seen[name].push({ ...measured, cost });
      const { perSecond, p99, cpuShare } = measured;
      say(
        `round ${round}, ${name}: ${rate(perSecond)}, p99 ${milliseconds(p99)}, ${microseconds(cost)} of CPU each, generator at ${percent(cpuShare)}`,
      );
    }

  const middle = (name: keyof typeof servers, key: 'perSecond' | 'p50' | 'p99' | 'cpuShare' | 'cost') =>
    median(seen[name].map((each) => each[key]));
  const both = (key: 'p50' | 'p99') => ({
    dray: milliseconds(middle('dray', key)),
    baseline: milliseconds(middle('bare', key)),
    ratio: times(middle('dray', key) / middle('bare', key)),
  });
  const share = middle('dray', 'perSecond') / middle('bare', 'perSecond');
  const failures = seen.dray.reduce((sum, each) => sum + each.failures, 0);
  return [
    {
      what: `hot: requests/s, ${load.connections} connections`,
      dray: rate(middle('dray', 'perSecond')),
      baseline: rate(middle('bare', 'perSecond')),
      ratio: times(share),
      target: '≥ 0.50 × a bare route',
      met: share >= 0.5,
    },
    { what: 'hot: p50', ...both('p50') },
    { what: 'hot: p99', ...both('p99') },
    // The figure that other work on the machine moves least.
    {
      what: "hot: server's CPU for each request",
      dray: microseconds(middle('dray', 'cost')),
      baseline: microseconds(middle('bare', 'cost')),
      ratio: times(middle('dray', 'cost') / middle('bare', 'cost')),
    },
    { what: 'hot: failed requests', dray: String(failures), target: '0', met: failures === 0 },
    {
      what: "hot: generator's share of a core",
      dray: percent(middle('dray', 'cpuShare')),
      baseline: percent(middle('bare', 'cpuShare')),
    },
  ];
}

async function startBare(stage: Stage): Promise<{ url: string; pid: number }> {
  const { made: child } = await stage.keep(
    Promise.resolve(fork(fileURLToPath(new URL('bare.ts', import.meta.url)))),
    async (server) => {
      const gone = once(server, 'exit');
      if (server.connected) server.disconnect();
      if (server.exitCode === null && server.signalCode === null) await gone;
    },
  );
  const [url] = (await once(child, 'message')) as [string];
  return { url, pid: child.pid as number };
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

function microseconds(value: number): string {
  return `${value.toFixed(0)} µs`;
}
