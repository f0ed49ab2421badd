import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDray } from '../fixtures/command.ts';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { manifestOf, noiseLayer, push } from '../fixtures/image.ts';
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

let seed = 9900;
const run = (...args: string[]) =>
  runDray(args, { env: { DRAY_URL: world.service.url, DRAY_API_KEY: world.service.key } });
const json = (stdout: string) =>
  stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

async function hanging(path: string) {
  await push(world.source.url, path, '1', manifestOf([noiseLayer(++seed, 5000)]));
  const rule = gate.add(new RegExp(`^GET /v2/${path}/blobs/`), { kind: 'hold' });
  const { body } = await world.submit(`${gate.host}/${path}:1`);
  await rule.met;
  return { rule, id: body.buildId ?? '', requestId: body.requestId, target: body.targetImage };
}

describe('dray cancel and dray retry', () => {
  it('stop what is named, tell what could not be stopped, and bring it after all', async () => {
    const [one, two] = [await hanging('cli/one'), await hanging('cli/two')];
    const stopped = await run('cancel', one.id, 'mr-0000', two.requestId);
    expect(stopped.code).toBe(1);
    expect(stopped.stdout).toBe(`✗ ${one.target}  cancelled\n✗ ${two.target}  cancelled\n`);
    expect(stopped.stderr).toContain('✗ mr-0000\n  failure: There is no mirror with this id.');
    const again = await run('cancel', one.id, '--json');
    expect(again.code).toBe(0);
    expect(json(again.stdout)).toMatchObject([{ id: one.id, state: 'cancelled' }]);
    expect((await run('status', one.id)).code).toBe(1);

    const pending = await run('retry', '--no-wait', '--json', one.id);
    expect(pending.code).toBe(75);
    expect(json(pending.stdout)).toMatchObject([{ target: one.target, state: 'queued' }]);
    one.rule.release();
    two.rule.release();
    const brought = await run('retry', one.id, two.id);
    expect([brought.code, brought.stderr]).toEqual([0, '']);
    expect(brought.stdout.match(/done|there already/g)?.length).toBeGreaterThanOrEqual(2);
    const there = await run('retry', two.id, '--json');
    expect(json(there.stdout)).toMatchObject([{ target: two.target, state: 'present' }]);

    const [{ id: done } = {}] = json((await run('list', '--state', 'done', '--json')).stdout);
    const late = await run('cancel', String(done));
    expect(late.code).toBe(1);
    expect(late.stderr).toContain('(already_ended)');
  });

  it('need a service, an id, and the right to it', async () => {
    expect(await run('cancel')).toMatchObject({ code: 64 });
    expect(await run('retry')).toMatchObject({ code: 64 });
    const { rule, id } = await hanging('cli/theirs');
    const key = (await run('keys', 'create', 'other')).stdout.trim();
    const env = { DRAY_URL: world.service.url, DRAY_API_KEY: key };
    for (const command of ['cancel', 'retry']) {
      const { code, stderr } = await runDray([command, id], { env });
      expect(code).toBe(1);
      expect(stderr).toContain('Only who has asked for this mirror may do that.');
    }
    const away = await runDray(['cancel', id], { env: { DRAY_URL: 'http://127.0.0.1:1' } });
    expect(away).toMatchObject({ code: 1, stderr: expect.stringContaining('No service answers') as string });
    rule.release();
  });
});
