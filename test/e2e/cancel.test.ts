import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PGlite } from '@electric-sql/pglite';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { manifestOf, noiseLayer, push } from '../fixtures/image.ts';
import { startPostgres, type TestPostgres } from '../fixtures/postgres.ts';
import { processesWith } from '../fixtures/processes.ts';
import { newSecret } from '../fixtures/secrets.ts';
import { startService } from '../fixtures/service.ts';
import { type ContainerStatus, createWorld, type World } from '../fixtures/world.ts';

interface MirrorAnswer {
  id: string;
  state: string;
  attempts: number;
  wait?: { until: string; host?: string };
  failure?: { code: string; message: string };
  finishedAt?: string;
  code?: string;
  message?: string;
}

/** Milliseconds after which nothing may be left of a cancelled copy. */
const soon = 2000;

describe.each(['embedded', 'PostgreSQL'])('cancelling, %s', (kind) => {
  let postgres: TestPostgres | undefined;
  let world: World;
  let gate: Gate;
  let env: Record<string, string>;
  beforeAll(async () => {
    postgres = kind === 'embedded' ? undefined : await startPostgres();
    env = postgres ? { DRAY_DATABASE_URL: postgres.url } : {};
    // Logins, so that there are auth files to be removed.
    env['REGISTRY_PASSWORD'] = newSecret('password for a registry that wants none');
    world = await createWorld({ settings: 'freshness: 0\ncopies: 2\nretry: { firstPause: 20 }\n', env });
    gate = await startGate(world.source.host);
  });
  afterAll(async () => {
    await gate.stop();
    await world.stop();
    await postgres?.stop();
  });

  let seed = kind === 'embedded' ? 7000 : 8000;
  const runDir = () => join(world.dataDir, 'run');
  const filesLeft = (folder = runDir()) =>
    existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith('mr-')) : [];
  const as = (key: string) => ({ authorization: `Bearer ${key}` });
  const admin = () => as(world.service.key);
  const newKey = async () => {
    const { body } = await world.call<{ key: string }>('POST', '/v1/keys', { name: 'k' }, admin());
    return body.key;
  };
  const cancel = (id: string | undefined, headers = admin()) =>
    world.call<MirrorAnswer>('POST', `/v1/mirrors/${id}/cancel`, undefined, headers);
  const retry = (id: string | undefined, headers = admin()) =>
    world.call<{ requestId: string; mirrorId?: string; cached: boolean; code?: string }>(
      'POST',
      `/v1/mirrors/${id}/retry`,
      undefined,
      headers,
    );
  const look = async (id: string | undefined) =>
    (await world.call<MirrorAnswer>('GET', `/v1/mirrors/${id}`, undefined, admin())).body;
  const tagAt = async (path: string) =>
    (
      await fetch(`${world.target.url}/v2/${path}/manifests/1`, {
        headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
      })
    ).status;
  const image = (path: string) =>
    push(world.source.url, path, '1', manifestOf([noiseLayer(++seed, 20_000), noiseLayer(++seed, 20_000)]));

  /** Asks for an image and waits until its copy hangs at a layer. */
  async function hanging(path: string, key = world.service.key) {
    await image(path);
    const rule = gate.add(new RegExp(`^GET /v2/${path}/blobs/`), { kind: 'hold' });
    const { body } = await world.submit(`${gate.host}/${path}:1`, undefined, { towerAccessToken: key });
    await rule.met;
    return { path, id: body.buildId, requestId: body.requestId, rule };
  }

  /** Waits until neither process nor file is left of a copy; milliseconds. */
  async function timeToVanish(folder = runDir()): Promise<number> {
    const started = performance.now();
    while (processesWith(join(folder, 'mr-')).length > 0 || filesLeft(folder).length > 0) {
      if (performance.now() - started > 10_000) throw new Error('It is still there.');
      await sleep(10);
    }
    return performance.now() - started;
  }

  /** Jobs that anybody could still claim, or works on. The embedded database has to be closed first. */
  async function jobsLeft(): Promise<unknown[]> {
    const query = `select data ->> 'mirrorId' as id, state from pgboss.job where name = 'mirror' and state < 'completed'`;
    if (postgres) {
      const client = new Client({ connectionString: postgres.url });
      await client.connect();
      const { rows } = await client.query(query);
      await client.end();
      return rows as unknown[];
    }
    const database = await PGlite.create({ dataDir: join(world.dataDir, 'db') });
    const { rows } = await database.query(query);
    await database.close();
    return rows;
  }

  it('ends a copy with its Skopeo and its files within two seconds, and sets no tag', async () => {
    const { path, id, requestId, rule } = await hanging('cancel/copying');
    expect(processesWith(join(runDir(), 'mr-')).length).toBe(1);
    expect(filesLeft()).toEqual([id]);
    const answer = await cancel(requestId);
    expect(await timeToVanish()).toBeLessThan(soon);
    expect(answer).toMatchObject({
      status: 200,
      body: { id, state: 'cancelled', failure: { code: 'cancelled', message: 'It was cancelled.' } },
    });
    expect(answer.body.finishedAt).toBeDefined();
    const { body } = await world.call<ContainerStatus>('GET', `/v1alpha2/container/${requestId}/status`);
    expect(body).toMatchObject({
      status: 'DONE',
      succeeded: false,
      reason: 'It was cancelled. Submit it again when it is wanted.',
    });
    // Once more changes nothing.
    expect(await cancel(id)).toEqual({ ...(await cancel(id)), body: answer.body });
    rule.release();
    const log = () => world.call<string>('GET', `/v1alpha1/mirrors/${id}/logs`, undefined, admin());
    await expect.poll(async () => (await log()).body).toContain('Stopped: it was cancelled');
    expect(await look(id)).toEqual(answer.body);
    expect(await tagAt(path)).toBe(404);

    // Whoever wants it after all gets another mirror.
    const again = await world.submit(`${gate.host}/${path}:1`);
    expect(again.body.buildId).not.toBe(id);
    expect(await world.finished(again.body.requestId)).toMatchObject({ succeeded: true });
    const ended = await cancel(again.body.buildId);
    expect(ended).toMatchObject({ status: 409, body: { code: 'already_ended' } });
    expect((await cancel('mr-00')).status).toBe(404);
    expect(await tagAt(path)).toBe(200);
  });

  it('ends what waits behind others, and what pauses before its next try', async () => {
    const [first, second] = [await hanging('cancel/first'), await hanging('cancel/second')];
    await image('cancel/behind');
    const { body: behind } = await world.submit(`${gate.host}/cancel/behind:1`);
    expect(await look(behind.buildId)).toMatchObject({ state: 'queued', attempts: 0 });
    expect((await cancel(behind.buildId)).body).toMatchObject({ state: 'cancelled' });
    for (const { rule, requestId } of [first, second]) {
      rule.release();
      await world.finished(requestId);
    }

    await image('cancel/pausing');
    const rule = gate.add(/^GET \/v2\/cancel\/pausing\/blobs\//, { kind: 'answer', status: 500 });
    const { body: pausing } = await world.submit(`${gate.host}/cancel/pausing:1`);
    await expect.poll(async () => (await look(pausing.buildId)).wait, { timeout: 20_000 }).toBeDefined();
    const { body } = await cancel(pausing.buildId);
    expect(body).toMatchObject({ state: 'cancelled', failure: { code: 'cancelled' } });
    expect(body.wait).toBeUndefined();
    rule.release();
    if (postgres) expect(await jobsLeft()).toEqual([]);
    expect([await tagAt('cancel/behind'), await tagAt('cancel/pausing')]).toEqual([404, 404]);
  });

  it('is for who has asked for it, and for nobody else while others wait for it too', async () => {
    const [ann, bob, carl] = [await newKey(), await newKey(), await newKey()];
    const { path, id, rule } = await hanging('cancel/shared', ann);
    const refused = await cancel(id, as(carl));
    expect(refused).toMatchObject({ status: 403, body: { code: 'forbidden' } });
    expect((await retry(id, as(carl))).status).toBe(403);
    const { body: joined } = await world.submit(`${gate.host}/${path}:1`, undefined, {
      towerAccessToken: bob,
    });
    expect(joined.buildId).toBe(id);
    // Neither who asked first, nor who joined.
    for (const key of [ann, bob]) {
      const { status, body } = await cancel(id, as(key));
      expect([status, body.code]).toEqual([403, 'forbidden']);
      expect(body.message).toContain('Others wait for this mirror too.');
      expect(body.message).toContain('administrator');
    }
    expect((await look(id)).state).toBe('copying');
    expect((await cancel(id)).status).toBe(200);
    rule.release();
    const alone = await hanging('cancel/alone', ann);
    expect((await cancel(alone.id, as(ann))).body.state).toBe('cancelled');
    expect(await timeToVanish()).toBeLessThan(soon);
    alone.rule.release();
    expect((await world.call('POST', `/v1/mirrors/${id}/cancel`)).status).toBe(401);
  });

  it('never leaves somebody with a mirror that was cancelled before the answer', async () => {
    const ann = await newKey();
    const others = await Promise.all(Array.from({ length: 3 }, newKey));
    for (let round = 0; round < 8; round++) {
      const { path, id, rule } = await hanging(`cancel/joined-${round}`, ann);
      const joining = others.map(async (key, n) => {
        await sleep(n * 2);
        return world.submit(`${gate.host}/${path}:1`, undefined, { towerAccessToken: key });
      });
      // The looks of who joins take some milliseconds: each round at another moment of them.
      await sleep(round * 4);
      const { status } = await cancel(id, as(ann));
      const answers = await Promise.all(joining);
      rule.release();
      const ends = await Promise.all(answers.map(({ body }) => world.finished(body.requestId)));
      expect(ends.map(({ succeeded, reason }) => succeeded ?? reason)).toEqual([true, true, true]);
      expect([200, 403]).toContain(status);
      const kept = answers.filter(({ body }) => body.buildId === id).length;
      expect(kept > 0).toBe(status === 403);
    }
  });

  it('asks again as a submit does: a new mirror, the one under way, or nothing to do', async () => {
    const key = await newKey();
    const { path, id, rule } = await hanging('cancel/again', key);
    expect((await retry(id, as(key))).body).toMatchObject({ mirrorId: id, cached: false });
    await cancel(id);
    rule.release();
    const again = await retry(id, as(key));
    expect(again).toMatchObject({ status: 200, body: { cached: false } });
    expect(again.body.mirrorId).not.toBe(id);
    expect(await world.finished(again.body.requestId)).toMatchObject({ succeeded: true });
    expect((await retry(again.body.mirrorId, as(key))).body.cached).toBe(true);
    expect((await look(id)).state).toBe('cancelled');
    // What is not at the source any more is told as at a submit.
    gate.add(new RegExp(`^HEAD /v2/${path}/manifests/`), { kind: 'answer', status: 404 });
    expect(await retry(id)).toMatchObject({ status: 404, body: { code: 'manifest_unknown' } });
  });

  it('has one that pauses by our own wish tried again at once', async () => {
    await image('cancel/hurry');
    const rule = gate.add(/^GET \/v2\/cancel\/hurry\/blobs\//, { kind: 'answer', status: 500 });
    const { body } = await world.submit(`${gate.host}/cancel/hurry:1`);
    await expect.poll(async () => (await look(body.buildId)).wait, { timeout: 20_000 }).toBeDefined();
    rule.release();
    const { wait } = await look(body.buildId);
    expect((await retry(body.buildId)).body.mirrorId).toBe(body.buildId);
    expect(await world.finished(body.requestId)).toMatchObject({ succeeded: true });
    expect(Date.now()).toBeLessThan(Date.parse(wait?.until ?? ''));
  });

  it('leaves nothing behind at any moment', async () => {
    // The same moments in every run.
    let state = 42;
    const random = () => (state = (state * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31;
    const moments = Array.from({ length: 20 }, () => random() * 700);
    for (const [n, moment] of moments.entries()) {
      const path = `cancel/random-${n}`;
      await image(path);
      const { body } = await world.submit(`${world.source.host}/${path}:1`);
      await sleep(moment);
      const { status } = await cancel(body.buildId);
      expect([200, 409]).toContain(status);
      expect(await timeToVanish()).toBeLessThan(soon);
      const { state: end } = await look(body.buildId);
      expect(end).toBe(status === 200 ? 'cancelled' : 'done');
      // A copy that was ended while it set the tag may have set it, and it points at something whole then.
      if (end === 'done') expect(await tagAt(path)).toBe(200);
    }
    if (postgres) await expect.poll(jobsLeft).toEqual([]);
  });

  it.runIf(kind === 'PostgreSQL')('ends a copy of another process within two seconds', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'dray-other-'));
    const { path, id, rule } = await hanging('cancel/elsewhere');
    const other = await startService(folder, {
      ...env,
      DRAY_API_KEY: newSecret('key of the second process'),
    });
    const answer = await fetch(`${other.url}/v1/mirrors/${id}/cancel`, {
      method: 'POST',
      headers: as(other.key),
    });
    expect(await timeToVanish()).toBeLessThan(soon);
    expect(answer.status).toBe(200);
    rule.release();
    expect(await tagAt(path)).toBe(404);
    await other.stop();
    await rm(folder, { recursive: true });
  });

  it('has left no job and nothing to do', async () => {
    await world.service.stop();
    expect(await jobsLeft()).toEqual([]);
    await world.restart(env);
  });
});
