import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDray } from '../fixtures/command.ts';
import { type EventData, listen } from '../fixtures/events.ts';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { manifestOf, noiseLayer, platformsIndex, push } from '../fixtures/image.ts';
import { createWorld, type World } from '../fixtures/world.ts';

let world: World;
let gate: Gate;
beforeAll(async () => {
  world = await createWorld({ settings: 'freshness: 0\n' });
  gate = await startGate(world.source.host);
});
afterAll(async () => {
  await gate.stop();
  await world.stop();
});

let seed = 9500;
/** The environment of somebody who uses the service. */
const user = () => ({ HOME: world.dataDir, DRAY_URL: world.service.url, DRAY_API_KEY: world.service.key });

async function ask(image: string) {
  const answer = await world.submit(image);
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  return { id: answer.body.buildId ?? '' };
}

/** All that is on record of a mirror that has ended. */
async function historyOf(id: string) {
  const stream = await listen(`${world.service.url}/v1/mirrors/${id}/events`, world.service.key);
  return (await stream.ended).filter(({ type }) => type !== 'progress').map(({ data }) => data);
}

describe('dray status --follow', () => {
  const told = (stdout: string) =>
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as EventData);

  it('goes on over a restart of the service, one JSON an event', async () => {
    await push(world.source.url, 'ev/follow', '1', platformsIndex(++seed, { size: 3000 }));
    const rule = gate.add(/^GET \/v2\/ev\/follow\/blobs\//, { kind: 'hold' });
    const { id } = await ask(`${gate.host}/ev/follow:1`);
    await rule.met;
    const port = new URL(world.service.url).port;
    const copying = Promise.withResolvers<undefined>();
    const command = runDray(['status', id, '--follow', '--json'], {
      env: user(),
      onOutput: (text) => text.includes('"state":"copying"') && copying.resolve(undefined),
    });
    await copying.promise;
    await world.service.stop('SIGKILL');
    rule.release();
    await world.restart({ DRAY_PORT: port });
    const { code, stdout, stderr } = await command;
    expect([code, stderr]).toEqual([0, '']);
    const events = told(stdout);
    const whole = await historyOf(id);
    expect(events.filter(({ type }) => type !== 'progress')).toEqual(whole);
  });

  it('shows layers with -v, the wait where there is one, and why it failed', async () => {
    await push(world.source.url, 'ev/shown', '1', manifestOf([noiseLayer(++seed, 5000)]));
    gate.add(/^GET \/v2\/ev\/shown\/blobs\//, { kind: 'answer', status: 503 }, 1);
    const { id } = await ask(`${gate.host}/ev/shown:1`);
    const { code, stdout, stderr } = await runDray(['status', id, '-f', '-v'], { env: user() });
    expect(code).toBe(0);
    expect(stdout).toMatch(/◌ .*next try at \d\d:\d\d:\d\d/);
    expect(stdout).toMatch(/✓ .*ev\/shown:1 → .*ev\/shown:1 {2}done/);
    expect(stderr).toMatch(/^layer sha256:[0-9a-f]{12} started, 5\.\d kB$/m);
    expect(stderr).toMatch(/^layer sha256:[0-9a-f]{12} done, 5\.\d kB$/m);
    const { id: broken } = await brokenMirror();
    const failed = await runDray(['status', broken, '--follow'], { env: user() });
    expect(failed.code).toBe(1);
    expect(failed.stderr).toContain('(blob_unknown)');
    expect((await runDray(['status', 'mr-0', '--follow'], { env: user() })).stderr).toContain(
      'no mirror with this id',
    );
  });

  /** One whose source has lost a layer. */
  async function brokenMirror() {
    const image = await push(world.source.url, 'ev/broken', '1', manifestOf([noiseLayer(++seed, 5000)]));
    const layer = [...image.contents.values()].find(({ mediaType }) => mediaType.includes('layer'));
    await fetch(`${world.source.url}/v2/ev/broken/blobs/${layer?.digest}`, { method: 'DELETE' });
    return ask(`${world.source.host}/ev/broken:1`);
  }
});
