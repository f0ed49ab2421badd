import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { platformsIndex, push } from '../fixtures/image.ts';
import { startPostgres, type TestPostgres } from '../fixtures/postgres.ts';
import { fetchTree } from '../fixtures/tree.ts';
import { createWorld, type World } from '../fixtures/world.ts';

let postgres: TestPostgres;
let world: World;
let gate: Gate;
beforeAll(async () => {
  postgres = await startPostgres();
  world = await createWorld({
    settings: 'freshness: 0\nsubmitBudget: 10\n',
    env: { DRAY_DATABASE_URL: postgres.url },
  });
  gate = await startGate(world.source.host);
});
afterAll(async () => {
  await gate.stop();
  await world.stop();
  await postgres.stop();
});

let seed = 5000;
const image = (path: string) => push(world.source.url, path, '1', platformsIndex(++seed, { size: 4000 }));
const isWhole = async (path: string) =>
  expect(await fetchTree(world.target.url, path, '1')).toEqual(await fetchTree(world.source.url, path, '1'));

describe('on PostgreSQL', () => {
  it('many callers get one copy', async () => {
    await image('pg');
    const answers = await Promise.all(
      Array.from({ length: 40 }, () => world.submit(`${world.source.host}/pg:1`)),
    );
    expect(new Set(answers.map(({ body }) => body.buildId)).size).toBe(1);
    const ends = await Promise.all(answers.map(({ body }) => world.finished(body.requestId)));
    expect(ends.every(({ succeeded }) => succeeded)).toBe(true);
    await isWhole('pg');
    expect((await world.submit(`${world.source.host}/pg:1`)).body).toMatchObject({ cached: true });
  });

  it('a copy is taken up again after kill -9 of the service', async () => {
    await image('pg-kill');
    const rule = gate.add(/^GET \/v2\/pg-kill\/blobs\//, { kind: 'hold' });
    const { body } = await world.submit(`${gate.host}/pg-kill:1`);
    await rule.met;
    await world.service.stop('SIGKILL');
    rule.release();
    await world.restart();
    expect(await world.finished(body.requestId)).toMatchObject({ succeeded: true });
    await isWhole('pg-kill');
  });

  it('a database that takes a question and does not answer is a 503, not a hang', async () => {
    await image('pg-frozen');
    const { body } = await world.submit(`${world.source.host}/pg-frozen:1`);
    await world.finished(body.requestId);
    const thaw = await postgres.freeze();
    const status = await world.call('GET', '/v1alpha2/container/00000000000000000/status');
    thaw();
    expect(status).toMatchObject({ status: 503, body: { code: 'database_unavailable' } });
    expect(await world.finished(body.requestId)).toMatchObject({ succeeded: true });
  });

  it('a table that somebody has locked is a 503, seen in /health, and everything goes on after it', async () => {
    await Promise.all(['pg-known', 'pg-running', 'pg-new'].map(image));
    const known = await world.submit(`${world.source.host}/pg-known:1`);
    await world.finished(known.body.requestId);
    const rule = gate.add(/^GET \/v2\/pg-running\/blobs\//, { kind: 'hold' });
    const { body: running } = await world.submit(`${gate.host}/pg-running:1`);
    await rule.met;
    const health = async () => (await world.call<{ database: string }>('GET', '/health')).body.database;
    expect(await health()).toBe('ok');

    const somebody = new Client({ connectionString: postgres.url });
    await somebody.connect();
    await somebody.query('begin; lock table mirrors in access exclusive mode');
    const asked = performance.now();
    const answers = await Promise.all([
      world.submit(`${world.source.host}/pg-new:1`),
      world.call('GET', `/v1alpha2/container/${running.requestId}/status`),
      world.call('GET', `/v1/mirrors/${running.buildId}`, undefined, {
        authorization: `Bearer ${world.service.key}`,
      }),
    ]);
    // The budget is 10 s; clients give up after 30.
    expect(performance.now() - asked).toBeLessThan(20_000);
    for (const { status, headers, body } of answers) {
      expect({ status, body }).toMatchObject({ status: 503, body: { code: 'database_unavailable' } });
      expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
    }
    expect(await health()).toBe('away');
    rule.release();
    await somebody.end();

    await expect.poll(health, { timeout: 5000 }).toBe('ok');
    const late = await world.submit(`${world.source.host}/pg-new:1`);
    expect(late.status).toBe(200);
    for (const { requestId } of [running, late.body])
      expect(await world.finished(requestId)).toMatchObject({ succeeded: true });
    await Promise.all([isWhole('pg-running'), isWhole('pg-new')]);
  });

  it('a database that crashes costs an answer 503 or a moment, and nothing that was accepted', async () => {
    await image('pg-crash');
    const admin = { authorization: `Bearer ${world.service.key}` };
    // One that the service has not seen yet: it has to look it up while the database is away.
    const { body: fresh } = await world.call<{ key: string }>('POST', '/v1/keys', { name: 'fresh' }, admin);
    const rule = gate.add(/^GET \/v2\/pg-crash\/blobs\//, { kind: 'hold' });
    const { body } = await world.submit(`${gate.host}/pg-crash:1`);
    await rule.met;
    await postgres.crash();
    const status = await world.call('GET', `/v1alpha2/container/${body.requestId}/status`);
    expect(status).toMatchObject({ status: 503, body: { code: 'database_unavailable' } });
    expect(Number(status.headers.get('retry-after'))).toBeGreaterThan(0);
    await image('pg-during');
    const during = world.submit(`${gate.host}/pg-during:1`, undefined, { towerAccessToken: fresh.key });
    rule.release();
    await postgres.start();
    // It was asked for while the database was away, and waited for it.
    expect(await during).toMatchObject({ status: 200 });
    expect(await world.finished((await during).body.requestId)).toMatchObject({ succeeded: true });
    expect(await world.finished(body.requestId)).toMatchObject({ succeeded: true });
    await isWhole('pg-crash');
    await isWhole('pg-during');
  });
});
