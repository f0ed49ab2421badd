import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newSigner, pushCosignSignature } from '../fixtures/cosign.ts';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { manifestOf, noiseLayer, platformsIndex, push } from '../fixtures/image.ts';
import { forward, type StandIn, startStandIn } from '../fixtures/stand-in.ts';
import { createWorld, type World } from '../fixtures/world.ts';

let world: World;
let target: Gate;
beforeAll(async () => {
  world = await createWorld({ settings: 'freshness: 0\nsubmitBudget: 3\n' });
  target = await startGate(world.target.host);
});
afterAll(async () => {
  await target.stop();
  await world.stop();
});

const denied = { kind: 'answer', status: 403, body: '{"errors":[{"code":"DENIED"}]}' } as const;

describe('who may only pull from the target', () => {
  it('is told that an image is there though something was signed at its source since', async () => {
    const image = platformsIndex(1);
    for (const { url } of [world.source, world.target]) await push(url, 'pulled', 'v1', image);
    await pushCosignSignature(world.source.url, 'pulled', image.digest, newSigner(), 'tag');
    const rule = target.add(/^POST .*\/uploads/, denied);
    const { status, body } = await world.submit(`${world.source.host}/pulled:v1`, target.host);
    rule.release();
    expect({ status, ...body }).toMatchObject({ status: 200, cached: true });
    expect(rule.hits()).toBe(1);
  });

  it('is refused what is not there as a whole', async () => {
    const [one, other] = [manifestOf([noiseLayer(2, 500)]), manifestOf([noiseLayer(3, 500)])];
    await push(world.source.url, 'other', 'v1', one);
    await push(world.target.url, 'other', 'v1', other);
    const rule = target.add(/^POST .*\/uploads/, denied);
    const { body } = await world.submit(`${world.source.host}/other:v1`, target.host);
    rule.release();
    expect(body).toMatchObject({ code: 'denied', side: 'target' });
  });
});

describe('an image that can not be looked at in the time of a submit', () => {
  let far: StandIn;
  let delay = 0;
  beforeAll(async () => {
    const pass = forward(world.target.url);
    far = await startStandIn(async (seen, response) => {
      await sleep(delay);
      await pass(seen, response);
    });
  });
  afterAll(() => far.stop());

  it('is on its way, and arrives without being copied again', async () => {
    const image = manifestOf(Array.from({ length: 80 }, (_, n) => noiseLayer(100 + n, 100)));
    for (const { url } of [world.source, world.target]) await push(url, 'layers', 'v1', image);
    delay = 300;
    const { status, body } = await world.submit(`${world.source.host}/layers:v1`, far.host);
    expect({ status, ...body }).toMatchObject({ status: 200, cached: false });
    delay = 0;
    expect(await world.finished(body.requestId)).toMatchObject({ succeeded: true });
    expect(far.seen.filter(({ method }) => method === 'PUT' || method === 'PATCH')).toEqual([]);
  });
});
