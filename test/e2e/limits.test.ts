import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDray } from '../fixtures/command.ts';
import { manifestOf, noiseLayer, push } from '../fixtures/image.ts';
import { createWorld, type Reply, type World } from '../fixtures/world.ts';

interface Refusal {
  message: string;
  code: string;
}

/** Behind a proxy that is trusted, so that each test can come from addresses of its own. */
let world: World;
let image: string;
beforeAll(async () => {
  world = await createWorld({
    settings: `
trustedProxies: [127.0.0.0/8]
limits:
  submit: {perCaller: 4, perAddress: 6}
  read: {perCaller: 3, perAddress: 8}
  failedLogins: 3
`,
  });
  await push(world.source.url, 'lib/app', '1', manifestOf([noiseLayer(1, 5000)]));
  image = `${world.source.host}/lib/app:1`;
  // Looked at as an administrator: on a slow machine a copy takes more looks than the limits below leave.
  const { body } = await world.submit(image);
  const look = () =>
    world.call<{ succeeded?: boolean }>(
      ...([
        'GET',
        `/v1alpha2/container/${body.requestId}/status`,
        undefined,
        bearer(world.service.key),
      ] as const),
    );
  while ((await look()).body.succeeded === undefined) await sleep(50);
});
afterAll(() => world.stop());

const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

async function makeKey(name: string, { call, service }: World = world): Promise<string> {
  return (await call<{ key: string }>('POST', '/v1/keys', { name }, bearer(service.key))).body.key;
}

/** A submit of a Wave client, from an address. */
function submit(key: string, from: string): Promise<Reply<Refusal>> {
  const body = { containerImage: image, buildRepository: world.target.host, towerAccessToken: key };
  return world.call('POST', '/v1alpha2/container', { mirror: true, ...body }, { 'x-forwarded-for': from });
}

function get(path: string, from: string, key?: string): Promise<Reply<Refusal>> {
  return world.call('GET', path, undefined, { 'x-forwarded-for': from, ...(key && bearer(key)) });
}

async function repeat<T>(times: number, what: () => Promise<Reply<T>>): Promise<number[]> {
  const statuses: number[] = [];
  for (let n = 0; n < times; n++) statuses.push((await what()).status);
  return statuses;
}

describe('limits', () => {
  it('of a caller hold for submits and reads apart, wherever they come from', async () => {
    const key = await makeKey('ann');
    expect(await repeat(4, () => submit(key, '198.51.100.1'))).toEqual([200, 200, 200, 200]);
    const refused = await submit(key, '198.51.100.2');
    expect(refused).toMatchObject({ status: 429, body: { code: 'too_many_requests' } });
    expect(refused.body.message).toContain("Dray's own limit is 4 a minute");
    expect(refused.body.message).toContain('`limits.submit.perCaller`');
    expect(refused.headers.get('retry-after')).toMatch(/^1[0-5]$/);
    expect(await repeat(4, () => get('/v1/mirrors', '198.51.100.3', key))).toEqual([200, 200, 200, 429]);
    const own = await world.call(
      'POST',
      '/v1/mirrors',
      { images: [image], to: world.target.host },
      bearer(key),
    );
    expect(own.status).toBe(429);
  });

  it('of an address stop what has no key, and never an administrator', async () => {
    const from = '198.51.100.10';
    const { body } = await world.submit(image);
    const status = `/v1alpha2/container/${body.requestId}/status`;
    expect(await repeat(9, () => get(status, from))).toEqual([...Array<number>(8).fill(200), 429]);
    expect((await get('/docs', from)).status).toBe(429);
    expect((await get('/nowhere', from)).status).toBe(429);
    expect((await get('/health', from)).status).toBe(200);
    expect((await get('/service-info', from)).status).toBe(200);
    // Submits are counted apart; the old API is one.
    const old = () => world.call('POST', '/container-token', {}, { 'x-forwarded-for': from });
    expect(await repeat(7, old)).toEqual([...Array<number>(6).fill(400), 429]);
    const admin = world.service.key;
    expect(await repeat(20, () => submit(admin, from))).toEqual(Array(20).fill(200));
    expect(await repeat(20, () => get('/v1/mirrors', from, admin))).toEqual(Array(20).fill(200));
    expect((await get(status, '198.51.100.11')).status).toBe(200);
  });

  it('of failed logins end the checks of unknown tokens, and lock out no good key of the same address', async () => {
    const from = '198.51.100.20';
    const [used, unused] = [await makeKey('used'), await makeKey('unused')];
    expect((await get('/v1/mirrors', from, used)).status).toBe(200);
    const { body } = await world.submit(image);
    // Whatever token a Wave client sends with its status calls.
    const status = `/v1alpha2/container/${body.requestId}/status`;
    expect(await repeat(3, () => get(status, from, 'a-platform-token'))).toEqual([200, 200, 200]);
    expect(await repeat(4, () => submit('dray_wrong', from))).toEqual([401, 401, 401, 429]);
    const refused = await get('/v1/mirrors', from, 'another');
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).toMatch(/^(1\d|20)$/);
    expect(refused.body.message).toContain(
      "failed logins from 198.51.100.20: Dray's own limit is 3 a minute",
    );
    expect((await get('/v1/mirrors', from, used)).status).toBe(200);
    expect((await submit(unused, from)).status).toBe(200);
    expect((await get('/v1/mirrors', '198.51.100.21', 'another')).status).toBe(401);
    // An open route is still open, and no way around: there the token is not checked.
    expect(
      (await get(`/v1alpha1/mirrors/${(body as { buildId?: string }).buildId}`, from, 'more')).status,
    ).toBe(200);
  });

  it('a key that is revoked is refused at once, limits met or not', async () => {
    const from = '198.51.100.30';
    const { body } = await world.call<{ id: string; key: string }>(
      ...(['POST', '/v1/keys', { name: 'gone' }, bearer(world.service.key)] as const),
    );
    await repeat(4, () => submit('dray_wrong', from));
    expect((await get('/v1/mirrors', from, body.key)).status).toBe(200);
    await world.call('DELETE', `/v1/keys/${body.id}`, undefined, bearer(world.service.key));
    expect([401, 429]).toContain((await get('/v1/mirrors', from, body.key)).status);
  });
});

describe('the default limits', () => {
  it('are never met by a pipeline of 5,000 tasks; headers of clients change no address', async () => {
    const other = await createWorld();
    try {
      await push(other.source.url, 'lib/app', '1', manifestOf([noiseLayer(1, 5000)]));
      const key = await makeKey('pipeline', other);
      const ask = () =>
        other.submit(`${other.source.host}/lib/app:1`, other.target.host, { towerAccessToken: key });
      await other.finished((await ask()).body.requestId);
      const statuses = new Map<number, number>();
      const note = ({ status }: { status: number }) =>
        void statuses.set(status, (statuses.get(status) ?? 0) + 1);
      let left = 5000;
      const task = async () => {
        while (left-- > 0) {
          const answer = await ask();
          note(answer);
          const path = `/v1alpha2/container/${answer.body.requestId}/status`;
          note(await other.call('GET', path, undefined, bearer('whatever')));
        }
      };
      await Promise.all(Array.from({ length: 64 }, task));
      expect([...statuses]).toEqual([[200, 10_000]]);
      // No proxy is trusted here: all of these are one address.
      const spoof = (n: number) =>
        other.call('GET', '/v1/mirrors', undefined, {
          ...bearer(`x${n}`),
          'x-forwarded-for': `192.0.2.${n}`,
        });
      const guesses = await Promise.all(Array.from({ length: 80 }, (_, n) => spoof(n)));
      const refused = guesses.filter(({ status }) => status === 429).length;
      expect(refused).toBeGreaterThan(10);
      expect(guesses.filter(({ status }) => status === 401)).toHaveLength(80 - refused);
      expect((await ask()).status).toBe(200);
    } finally {
      await other.stop();
    }
  });
});

it('a proxy that is no address stops the start', async () => {
  const config = join(world.dataDir, 'proxies.yaml');
  await writeFile(config, 'trustedProxies: [loopback, 0.0.0.0/0]\n');
  const { code, stderr } = await runDray(['serve'], { env: { DRAY_CONFIG: config } });
  expect(code).toBe(78);
  expect(stderr).toContain('trustedProxies[1]');
  expect(stderr).toMatch(
    /trustedProxies\[0\].*is no address and no range of addresses; write it like 10.0.0.7 or 10.0.0.0\/8/,
  );
});
