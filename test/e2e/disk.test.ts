import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { statfsSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keepDatabase } from '../fixtures/evidence.ts';
import { manifestOf, noiseLayer, push } from '../fixtures/image.ts';
import { startService, type TestService } from '../fixtures/service.ts';
import { createWorld, type World } from '../fixtures/world.ts';

/** A disk of 200 MB of our own; only root may mount one, and not in every container. */
async function mountSmallDisk(): Promise<string | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'dray-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=200m', 'none', folder], { stdio: 'pipe' });
    return folder;
  } catch {
    await rm(folder, { recursive: true });
    return undefined;
  }
}

const disk = await mountSmallDisk();
if (disk === undefined) process.stderr.write('Skipped: a full disk needs the right to mount one (root).\n');

describe.skipIf(disk === undefined)('a full disk of our own', () => {
  const folder = disk ?? '';
  const filler = join(folder, 'filler');
  let world: World;
  let service: TestService;
  beforeAll(async () => {
    world = await createWorld();
    const config = join(world.dataDir, 'small.yaml');
    await writeFile(config, 'submitBudget: 3\n');
    service = await startService(join(folder, 'data'), { DRAY_CONFIG: config });
    await push(world.source.url, 'disk', '1', manifestOf([noiseLayer(1, 5000)]));
  });
  afterAll(async () => {
    await service.stop();
    await keepDatabase('pglite', join(folder, 'data', 'db'));
    await world.stop();
    execFileSync('umount', [folder]);
    await rm(folder, { recursive: true });
  });

  const submit = () =>
    fetch(`${service.url}/v1alpha2/container`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        mirror: true,
        containerImage: `${world.source.host}/disk:1`,
        buildRepository: world.target.host,
        towerAccessToken: service.key,
      }),
    });
  /** Leaves 1 MB. */
  const fill = async () => {
    const { bavail, bsize } = statfsSync(folder);
    await writeFile(filler, Buffer.alloc(bavail * bsize - 1_000_000));
  };

  it('is a 503 with Retry-After that says what is full', async () => {
    await fill();
    const answer = await submit();
    expect(answer.status).toBe(503);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await answer.json()).toMatchObject({
      code: 'disk_full',
      message: expect.stringContaining('data folder') as string,
    });
  });

  it('for a moment costs its caller a moment, and nothing is lost', async () => {
    const answer = submit();
    // It is looked at again and again, until there is room.
    await fetch(`${service.url}/health`);
    truncateSync(filler, 0);
    const { requestId } = (await (await answer).json()) as { requestId: string };
    const status = async () =>
      (await (await fetch(`${service.url}/v1alpha2/container/${requestId}/status`)).json()) as {
        status: string;
      };
    let seen = await status();
    while (seen.status !== 'DONE') seen = await status();
    expect(seen).toMatchObject({ succeeded: true });
  });
});
