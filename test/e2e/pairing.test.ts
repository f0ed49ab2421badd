import { randomBytes } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDray } from '../fixtures/command.ts';
import { manifestOf, noiseLayer, push } from '../fixtures/image.ts';
import { startPlatform } from '../fixtures/platform.ts';
import { createPlatformWorld, platformUser, type PlatformWorld } from '../fixtures/platform-world.ts';
import { newSecret, registerSecret } from '../fixtures/secrets.ts';

interface Health {
  status: string;
  pairings: { endpoint: string; state: string; since: string }[];
}

const writer = {
  username: 'writer',
  password: newSecret('password of writer'),
  rights: { '*': ['pull', 'push'] },
};
const ann = platformUser(1, 'ann', [10]);

describe('a pairing', () => {
  let world: PlatformWorld;
  let images = 0;
  beforeAll(async () => {
    world = await createPlatformWorld({ users: [ann], accounts: [writer] });
    for (const registry of [world.gate.host, world.closedTarget.host])
      world.platform.credentials.push({
        ...{ id: `c-${registry.replace(/\W/g, '-')}`, provider: 'container-reg', registry, workspaceId: 10 },
        keys: { userName: writer.username, password: writer.password },
      });
  });
  afterAll(() => world.stop());

  const ask = (path: string) => world.ask(ann, path, { towerWorkspaceId: 10 });
  const health = async () => (await world.call<Health>('GET', '/health')).body;
  const pairing = (token: string, endpoint = world.platform.endpoint) =>
    startPlatform({ services: [world.service.url], token, endpoint, users: [] });

  async function stocked(): Promise<string> {
    const path = `team/image-${++images}`;
    await world.stock(path, '1', manifestOf([noiseLayer(images, 5000)]));
    return `${path}:1`;
  }
  /** Asks for an image whose copy waits in the middle. */
  async function held() {
    const image = await stocked();
    const rule = world.gate.add(new RegExp(`^GET /v2/${image.slice(0, -2)}/blobs/`), { kind: 'hold' });
    const { body } = await ask(image);
    await rule.met;
    return { requestId: body.requestId, release: () => rule.release() };
  }
  /** Looks into, or changes, the database of a service that is stopped. */
  async function inDatabase<T>(work: (database: PGlite) => Promise<T>): Promise<T> {
    const database = await PGlite.create({ dataDir: join(world.dataDir, 'db') });
    return work(database).finally(() => database.close());
  }

  it.each([
    ['a wrong token', () => pairing(newSecret('wrong pairing token')), 'another token'],
    ['no token', () => pairing('none-at-all'), 'another token'],
    [
      'an unknown endpoint',
      () => pairing(world.pairingToken, 'https://attacker.example/api'),
      'not listed under platform.endpoints',
    ],
  ])('is refused for %s, and the administrator can read why', async (_, attempt, why) => {
    const before = world.service.output().length;
    await expect(attempt()).rejects.toMatchObject({ end: { code: 1008 } });
    const logged = () => world.service.output().slice(before);
    await expect.poll(logged).toMatch(new RegExp(`"level":40.*127\\.0\\.0\\.1.*${why}`));
    // Who is paired stays so.
    await world.platform.beat();
    expect((await ask(await stocked())).status).toBe(200);
    expect(world.platform.ends).toEqual([]);
  });

  it('is shown by the health page and by doctor', async () => {
    expect((await health()).pairings).toMatchObject([
      { endpoint: world.platform.endpoint, state: 'connected' },
    ]);
    const doctor = () =>
      runDray(['doctor'], { env: { DRAY_URL: world.service.url, DRAY_API_KEY: world.service.key } });
    expect((await doctor()).stdout).toContain(`${world.platform.endpoint} is connected`);
    await world.platform.disconnect();
    await expect.poll(async () => (await health()).pairings[0]?.state).toBe('waiting');
    expect((await doctor()).stdout).toMatch(/platform +https:.* is not connected/);
    await world.platform.connect();
  });

  it('that breaks in the middle of a call is used again as soon as it is back', async () => {
    const hungUp = world.platform.hangUp(/credentials/);
    const bea = platformUser(2, 'bea', [10]);
    world.platform.users.push(bea);
    const answer = world.ask(bea, await stocked(), { towerWorkspaceId: 10 });
    await hungUp;
    expect((await answer).status).toBe(200);
  });

  it('is known again after a restart, and a mirror goes on with the tokens that it came with', async () => {
    const [id] = world.platform.pairings.keys();
    const { requestId, release } = await held();
    const back = world.platform.nextEnd();
    await world.service.stop('SIGKILL');
    await back;
    release();
    await world.restart();
    expect(await world.finished(requestId)).toMatchObject({ succeeded: true });
    expect([...world.platform.pairings.keys()]).toEqual([id]);
  });

  it('that is away does not hold up the copies of others', async () => {
    // As many as run at once, and as many again behind them.
    const waiting = [await held(), await held(), await held(), await held()];
    const behind = [];
    for (let n = 0; n < 4; n++) behind.push((await ask(await stocked())).body.requestId);
    await world.service.stop('SIGKILL');
    await world.platform.disconnect();
    for (const { release } of waiting) release();
    await world.restart();
    await push(world.source.url, 'own/image', '1', manifestOf([noiseLayer(900, 5000)]));
    const own = await world.submit(`${world.source.host}/own/image:1`);
    expect(await world.finished(own.body.requestId)).toMatchObject({ succeeded: true });
    await world.platform.connect();
    for (const requestId of [...waiting.map((each) => each.requestId), ...behind])
      expect(await world.finished(requestId)).toMatchObject({ succeeded: true });
  }, 120_000);

  it('gets a new key pair when its socket opens after a day, and both open what they sealed', async () => {
    const [old] = world.platform.pairings.keys();
    const { requestId, release } = await held();
    await world.service.stop();
    await inDatabase((database) =>
      database.query(`update pairings set created_at = created_at - interval '25 hours'`),
    );
    release();
    await world.restart();
    expect(await world.finished(requestId)).toMatchObject({ succeeded: true });
    expect([...world.platform.pairings.keys()]).toEqual([old, expect.any(String)]);
    expect(world.platform.faults).toEqual([]);
  });

  it('outlives a change of the master key, and so does a mirror that waits', async () => {
    const file = join(world.dataDir, 'secret-key');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const old = registerSecret((await readFile(file, 'utf8')).trim(), 'master key');
    const next = registerSecret(randomBytes(32).toString('base64'), 'next master key');
    const known = [...world.platform.pairings.keys()];

    const first = await held();
    await world.service.stop('SIGKILL');
    first.release();
    await world.restart({ DRAY_SECRET_KEY: `${next},${old}` });
    expect(await world.finished(first.requestId)).toMatchObject({ succeeded: true });

    // All of it is sealed anew by then: the old one is not needed any more.
    const second = await held();
    await world.service.stop('SIGKILL');
    second.release();
    await world.restart({ DRAY_SECRET_KEY: next });
    expect(await world.finished(second.requestId)).toMatchObject({ succeeded: true });
    expect([...world.platform.pairings.keys()]).toEqual(known);

    // Without the key the pairing is made anew; a mirror that waited says so.
    const third = await held();
    await world.service.stop('SIGKILL');
    third.release();
    await world.restart({ DRAY_SECRET_KEY: registerSecret(randomBytes(32).toString('base64'), 'lost') });
    const { succeeded, reason } = await world.finished(third.requestId);
    expect([succeeded, reason]).toEqual([false, expect.stringContaining('master key')]);
    const { body } = await ask(await stocked());
    expect(await world.finished(body.requestId)).toMatchObject({ succeeded: true });
    expect(world.platform.pairings.size).toBe(known.length + 1);
  });

  it('leaves no grant behind when its mirrors have ended', async () => {
    await world.service.stop();
    const left = await inDatabase((database) =>
      database.query(`select id from mirrors where grant_sealed is not null`),
    );
    expect(left.rows).toEqual([]);
    await world.restart();
  });
});
