import { connect } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { manifestOf, noiseLayer, push } from '../fixtures/image.ts';
import { type ContainerAnswer, createWorld, type World } from '../fixtures/world.ts';

let world: World;
beforeAll(async () => {
  world = await createWorld({ settings: 'submitBudget: 1\n' });
  await push(world.source.url, 'app', '1', manifestOf([noiseLayer(1, 500)]));
});
afterAll(() => world.stop());

const post = (body: string, headers: Record<string, string> = {}) =>
  world.call<ContainerAnswer>('POST', '/v1alpha2/container', body, headers);

/** Every refusal says what, and what to do; none is our own fault. */
function expectRefusal({ status, body }: { status: number; body: ContainerAnswer }): void {
  expect(status, JSON.stringify(body)).toBeGreaterThanOrEqual(400);
  expect(status, JSON.stringify(body)).toBeLessThan(500);
  expect(body).toMatchObject({
    message: expect.stringMatching(/\S{2}/) as string,
    code: expect.stringMatching(/^[a-z_]+$/) as string,
    remedy: expect.stringMatching(/\S{2}/) as string,
  });
}

describe('a body', () => {
  it.each([
    ['of 10 MB', () => JSON.stringify({ mirror: true, x: 'x'.repeat(10_000_000) }), 413],
    ['nested a hundred thousand deep', () => `${'['.repeat(100_000)}${']'.repeat(100_000)}`, 400],
    [
      'with a hull nested deep',
      () => `{"mirror":true,"packages":${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}}`,
      400,
    ],
    ['that is no JSON', () => '{"mirror": tru', 400],
    ['that is empty', () => '', 400],
    ['that is null', () => 'null', 400],
    ['that is a list', () => '[]', 400],
    ['that means to change prototypes', () => '{"__proto__": {"mirror": true}, "mirror": true}', 400],
    ['with a lone surrogate', () => '{"mirror": true, "containerImage": "\\ud800"}', 400],
    ['with a NUL', () => '{"mirror": true, "containerImage": "a\\u0000b", "buildRepository": "q.io"}', 400],
  ])('%s is refused', async (_, make, status) => {
    const answer = await post(
      make().replace('"mirror": true,', `"mirror": true, "towerAccessToken": "${world.service.key}",`),
    );
    expect(answer.status).toBe(status);
    expectRefusal(answer);
  });

  it('of another type than JSON is refused', async () => {
    expectRefusal(await post('mirror=true', { 'content-type': 'application/x-www-form-urlencoded' }));
    expectRefusal(await post('<mirror/>', { 'content-type': 'text/xml' }));
  });
});

it('whatever the fields hold, the answer is a 4xx with a reason, or the right answer', async () => {
  const junk = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.string({ unit: 'binary', maxLength: 300 }),
    fc.constantFrom(
      -1,
      1e308,
      '',
      ' ',
      '\0',
      '../..',
      '%2e%2e',
      'a'.repeat(5000),
      `a@sha256:${'f'.repeat(64)}`,
    ),
  );
  const fields = [
    'containerImage',
    'buildRepository',
    'towerAccessToken',
    'mirror',
    'dryRun',
    'freeze',
    'packages',
  ];
  const extra = ['containerConfig', 'towerWorkspaceId', 'timestamp', 'scanMode', 'workflowId', 'other'];
  const changes = fc.dictionary(fc.constantFrom(...fields, ...extra), junk, { minKeys: 1, maxKeys: 4 });
  await fc.assert(
    fc.asyncProperty(changes, async (change) => {
      const answer = await world.submit(`${world.source.host}/app:1`, world.target.host, {
        dryRun: true,
        ...change,
      });
      if (answer.status === 200)
        expect(answer.body).toMatchObject({ mirror: true, requestId: expect.any(String) as string });
      else expectRefusal(answer);
    }),
    { numRuns: 400 },
  );
});

it('whatever the reference, the answer is a 4xx with a reason: nothing reaches a registry unchecked', async () => {
  const { host } = world.source;
  const part = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 40 }),
    fc.stringMatching(/^[a-z0-9._\-/:@%?#]{1,40}$/),
    fc.constantFrom('..', '/', ':', '@', '?x=1', '#', '%00', '\r\nX: 1', 'sha256:'),
  );
  const before = world.source.log();
  await fc.assert(
    fc.asyncProperty(fc.array(part, { minLength: 1, maxLength: 3 }), async (parts) => {
      expectRefusal(await world.submit(`${host}/${parts.join('')}`));
    }),
    { numRuns: 400 },
  );
  const asked = world.source.log().slice(before.length);
  for (const [, path] of asked.matchAll(/"(?:HEAD|GET) (\S+) HTTP/g))
    expect(path).toMatch(/^\/v2\/[a-z0-9._\-/]+\/manifests\/[\w.:-]+$/);
});

it('a hundred unread answers and broken requests later it still serves', async () => {
  const { hostname, port } = new URL(world.service.url);
  await Promise.all(
    Array.from({ length: 100 }, async (_, n) => {
      const socket = connect(Number(port), hostname);
      socket.on('error', () => undefined);
      const written =
        ['GARBAGE\r\n\r\n', 'POST /v1alpha2/container HTTP/1.1\r\nContent-Length: 99\r\n\r\n{'][n % 2] ?? '';
      await new Promise((resolve) => socket.write(written, resolve));
      socket.destroy();
    }),
  );
  expect((await world.call('GET', '/health')).status).toBe(200);
  // What went wrong was not ours: nothing of it is in the log as a fault.
  expect(world.service.output()).not.toContain('"level":50');
});
