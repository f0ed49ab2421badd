import { manifestOf, noiseLayer, push, type Pushed } from '../test/fixtures/image.ts';
import type { TestRegistry } from '../test/fixtures/registry.ts';
import { mirror } from './request.ts';
import { bareCopy, type Image, nameOf, runCommand } from './skopeo.ts';
import type { Stage } from './stage.ts';
import { median, type Row, seconds, times } from './table.ts';

interface Size {
  name: string;
  /** MB of each layer. */
  layers: number[];
  rounds: number;
  /** The most that Dray may take, in times of a bare copy. */
  target: number;
}

const sizes: Size[] = [
  { name: '2 MB', layers: [1.4, 0.5, 0.1], rounds: 7, target: 1.5 },
  { name: '287 MB', layers: [120, 80, 50, 25, 10, 2], rounds: 7, target: 1.05 },
];

/** One image from submit to DONE, beside the same copy with nothing but Skopeo. */
export async function measureCold(stage: Stage, say: (text: string) => void): Promise<Row[]> {
  const rows: Row[] = [];
  for (const size of sizes) rows.push(await measureSize(stage.part(), size, say));
  return rows;
}

async function measureSize(
  stage: Stage,
  { name, layers, rounds, target }: Size,
  say: (text: string) => void,
): Promise<Row> {
  const [source, service, home] = await Promise.all([stage.registry(), stage.service(), stage.folder()]);
  const image: Image = { host: source.host, path: 'bench/cold', tag: '1' };
  const pushed = await pushNoise(source, image, layers);
  const env = { PATH: process.env['PATH'] ?? '', HOME: home };

  const ways = {
    bare: async (host: string) => {
      const command = bareCopy(image, { ...image, host });
      return (await runCommand(stage, 'skopeo', command, env, { watched: false })).took;
    },
    dray: async (host: string) => mirror(service, nameOf(image), host),
  };
  const took: Record<keyof typeof ways, number[]> = { bare: [], dray: [] };
  for (let round = 1; round <= rounds; round++) {
    // Taking turns at going first, so that neither has the warmer disk every time.
    const order = round % 2 === 1 ? (['bare', 'dray'] as const) : (['dray', 'bare'] as const);
    for (const way of order) {
      // A registry that was never there before: Skopeo remembers where it has seen a blob and would mount it.
      const registry = await stage.registry();
      took[way].push(await ways[way](registry.host));
      await checkArrival(registry, pushed);
      await registry.stop();
    }
    say(
      `${name}, round ${round}: bare ${seconds(took.bare.at(-1) ?? NaN)}, Dray ${seconds(took.dray.at(-1) ?? NaN)}`,
    );
  }
  await stage.close();
  const [dray, bare] = [median(took.dray), median(took.bare)];
  return {
    what: `cold: ${name}, median of ${rounds}`,
    dray: seconds(dray),
    baseline: seconds(bare),
    ratio: times(dray / bare),
    target: `≤ ${times(target)} bare skopeo copy`,
    met: dray <= target * bare,
  };
}

/** Pushes an image of incompressible layers that no earlier run has had. */
export async function pushNoise(
  { url }: TestRegistry,
  { path, tag }: Pick<Image, 'path' | 'tag'>,
  layers: readonly number[],
): Promise<Pushed> {
  const seed = Date.now();
  return push(url, path, tag, manifestOf(layers.map((size, n) => noiseLayer(seed + n, size * 1e6))));
}

/** The registry was empty before: what it has now, in full, has come over the wire. */
export async function checkArrival({ url }: TestRegistry, { repository, contents }: Pushed): Promise<void> {
  const path = repository.slice(repository.indexOf('/') + 1);
  for (const { digest, bytes, mediaType } of contents.values()) {
    const kind = mediaType.includes('manifest') ? 'manifests' : 'blobs';
    const answer = await fetch(`${url}/v2/${path}/${kind}/${digest}`, {
      method: 'HEAD',
      headers: { accept: mediaType },
    });
    if (answer.status !== 200 || Number(answer.headers.get('content-length')) !== bytes.length)
      throw new Error(`${digest} did not arrive at ${url}: ${answer.status}`);
  }
}
