import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { keepDatabase } from '../fixtures/evidence.ts';
import { startService, type TestService } from '../fixtures/service.ts';

export const key = 'interop-0123456789abcdef0123456789abcdef';

/** Starts `bin/dray serve` on a data folder of its own, with this dray.yaml (JSON is YAML). */
export async function startDray(
  settings: Record<string, unknown> = {},
): Promise<TestService & { folder: string; end(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'dray-interop-'));
  const file = join(folder, 'dray.yaml');
  await writeFile(file, JSON.stringify(settings));
  const service = await startService(join(folder, 'data'), { DRAY_API_KEY: key, DRAY_CONFIG: file });
  return {
    ...service,
    folder,
    async end() {
      await service.stop();
      await keepDatabase('pglite', join(folder, 'data', 'db'));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** What `GET /v1/mirrors/:id` tells, as far as we look. */
export interface Mirror {
  state: string;
  progress: { layersDone: number; layersTotal: number; bytesDone: number; bytesTotal: number };
  failure?: { code: string; side?: string };
}

/** Asks for a mirror over the Wave API. */
export async function submit(
  url: string,
  image: string,
  repository: string,
): Promise<{ buildId: string; targetImage: string; requestId: string }> {
  const answer = await fetch(`${url}/v1alpha2/container`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      mirror: true,
      containerImage: image,
      buildRepository: repository,
      towerAccessToken: key,
    }),
  });
  if (answer.status !== 200) throw new Error(`${image}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as Awaited<ReturnType<typeof submit>>;
}

/** Looks at a mirror, every 50 ms as no event crosses HTTP, until it is done or failed. */
export async function settled(url: string, id: string): Promise<{ last: Mirror; looks: Mirror[] }> {
  const looks: Mirror[] = [];
  for (;;) {
    const answer = await fetch(`${url}/v1/mirrors/${id}`, { headers: { authorization: `Bearer ${key}` } });
    const look = (await answer.json()) as Mirror;
    if (answer.status !== 200) throw new Error(`${id}: ${answer.status} ${JSON.stringify(look)}`);
    looks.push(look);
    if (['done', 'failed', 'cancelled'].includes(look.state)) return { last: look, looks };
    await setTimeout(50);
  }
}
