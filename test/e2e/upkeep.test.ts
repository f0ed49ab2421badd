import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { manifestOf, noiseLayer, push } from '../fixtures/image.ts';
import { startPostgres, type TestPostgres } from '../fixtures/postgres.ts';
import { processesWith } from '../fixtures/processes.ts';
import { type ContainerStatus, createWorld, type World } from '../fixtures/world.ts';

/** Days; some seconds of a test stand for a month. */
const kept = { records: 8 / 86_400, logs: 2 / 86_400 };

describe.each(['embedded', 'PostgreSQL'])('what is over, %s', (kind) => {
  let postgres: TestPostgres | undefined;
  let world: World;
  let gate: Gate;
  beforeAll(async () => {
    postgres = kind === 'embedded' ? undefined : await startPostgres();
    world = await createWorld({
      settings: `freshness: 0\nretention: ${JSON.stringify(kept)}\nskopeo: { timeLimit: 5 }\n`,
      ...(postgres && { env: { DRAY_DATABASE_URL: postgres.url } }),
    });
    gate = await startGate(world.source.host);
  });
  afterAll(async () => {
    await gate.stop();
    await world.stop();
    await postgres?.stop();
  });

  let seed = kind === 'embedded' ? 9000 : 9500;
  const admin = () => ({ authorization: `Bearer ${world.service.key}` });
  const get = <T = Record<string, unknown>>(path: string) => world.call<T>('GET', path, undefined, admin());
  const image = (path: string, url = world.source.url) =>
    push(url, path, '1', manifestOf([noiseLayer(++seed, 5000)]));
  const mirrorOf = (id: string | undefined) => get(`/v1/mirrors/${id}`);
  const statusOf = (id: string) => get<ContainerStatus>(`/v1alpha2/container/${id}/status`);
  const logOf = async (id: string | undefined) => (await get<string>(`/v1alpha1/mirrors/${id}/logs`)).body;
  const slow = { timeout: 40_000, interval: 200 };

  it('goes: first logs, then records, but not what tells where a target comes from', async () => {
    await image('keep/good');
    await image('keep/bad');
    gate.add(/^GET \/v2\/keep\/bad\/blobs\//, { kind: 'answer', status: 404 });
    const [{ body: good }, { body: bad }] = [
      await world.submit(`${gate.host}/keep/good:1`),
      await world.submit(`${gate.host}/keep/bad:1`),
    ];
    const [goodEnd, badEnd] = [await world.finished(good.requestId), await world.finished(bad.requestId)];
    expect([goodEnd.succeeded, badEnd.succeeded]).toEqual([true, false]);
    const log = await logOf(good.buildId);
    expect(log).toContain('Done');

    await expect.poll(() => logOf(good.buildId), slow).toBe('');
    // Whoever waits hears nothing else than before until the record goes; never that it has gone well.
    const seen = new Set<string>();
    await expect
      .poll(async () => {
        const { status, body } = await statusOf(bad.requestId);
        seen.add(`${status} ${body.status} ${body.succeeded}`);
        return status;
      }, slow)
      .toBe(404);
    expect([...seen]).toEqual(['200 DONE false', '404 undefined undefined']);
    await expect.poll(async () => (await mirrorOf(bad.buildId)).status, slow).toBe(404);
    expect((await mirrorOf(good.buildId)).body).toMatchObject({ state: 'done' });

    // So another source does not get its place.
    const other = await createWorld();
    try {
      await image('keep/good', other.source.url);
      const refused = await world.submit(`${other.source.host}/keep/good:1`);
      expect(refused).toMatchObject({ status: 400, body: { code: 'origin_conflict' } });
    } finally {
      await other.stop();
    }
  });

  it('a copy that hangs is stopped at its time limit, with its Skopeo', async () => {
    await image('keep/hung');
    const rule = gate.add(/^GET \/v2\/keep\/hung\/blobs\//, { kind: 'hold' });
    const { body } = await world.submit(`${gate.host}/keep/hung:1`);
    await rule.met;
    const runDir = join(world.dataDir, 'run');
    const left = () =>
      existsSync(runDir) ? readdirSync(runDir).filter((name) => name.startsWith('mr-')) : [];
    expect(processesWith(join(runDir, 'mr-')).length).toBe(1);
    expect(left()).toEqual([body.buildId]);
    const end = await world.finished(body.requestId);
    expect(end).toMatchObject({
      succeeded: false,
      reason: expect.stringContaining('The copy took longer than 5 s and finished no layer') as string,
    });
    const { body: record } = await mirrorOf(body.buildId);
    const took = Date.parse(String(record['finishedAt'])) - Date.parse(String(record['startedAt']));
    expect(took).toBeGreaterThan(5000);
    expect(took).toBeLessThan(8000);
    expect(record).toMatchObject({
      state: 'failed',
      attempts: 1,
      failure: { code: 'time_limit' },
    });
    expect(processesWith(join(runDir, 'mr-'))).toEqual([]);
    expect(left()).toEqual([]);
    rule.release();
  });
});
