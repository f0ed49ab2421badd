import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDray } from '../fixtures/command.ts';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { manifestOf, noiseLayer, push } from '../fixtures/image.ts';
import { newSecret } from '../fixtures/secrets.ts';
import { createWorld, type World } from '../fixtures/world.ts';

let world: World;
let gate: Gate;
beforeAll(async () => {
  world = await createWorld();
  gate = await startGate(world.source.host);
});
afterAll(async () => {
  await gate.stop();
  await world.stop();
});

describe('dray serve', () => {
  it('stops at a wrong setting with its name, the fault and the fix', async () => {
    const free = join(world.dataDir, 'free');
    const cases: [Record<string, string>, RegExp][] = [
      [{ DRAY_PORT: 'abc' }, /DRAY_PORT: .*\. Give a port from 0 to 65535/],
      [
        { DRAY_PORT: new URL(world.service.url).port },
        /DRAY_PORT: \d+ is in use on 127.0.0.1\. Choose another/,
      ],
      [{ DRAY_HOST: '203.0.113.1' }, /DRAY_HOST: 203.0.113.1 is no address of this machine\. Give/],
      [{ DRAY_URL: 'nonsense' }, /DRAY_URL: .*Give an absolute URL/],
      [{ DRAY_CONFIG: '/nowhere.yaml' }, /DRAY_CONFIG: \/nowhere.yaml can't be read .*Name a readable file/],
      [
        { DRAY_DATA_DIR: '/etc/hostname/x' },
        /DRAY_DATA_DIR: \/etc\/hostname\/x can't be made .*Name a folder/,
      ],
    ];
    await Promise.all(
      cases.map(async ([env, text], n) => {
        // Two cases go as far as the database; each has its own.
        const base = { DRAY_DATA_DIR: `${free}${n}`, DRAY_PORT: '0', HOME: world.dataDir };
        const { code, stderr } = await runDray(['serve'], { env: { ...base, ...env } });
        expect({ code, stderr }).toEqual({ code: 78, stderr: expect.stringMatching(text) as string });
      }),
    );
  });

  it('stops when there is no Skopeo, and says how to get it', async () => {
    const config = join(world.dataDir, 'no-skopeo.yaml');
    await writeFile(config, 'skopeo: {path: no-such-skopeo}\n');
    const env = { DRAY_DATA_DIR: join(world.dataDir, 'none'), DRAY_CONFIG: config };
    const { code, stderr } = await runDray(['serve'], { env });
    expect(code).toBe(78);
    expect(stderr).toMatch(/skopeo.path: There is no command no-such-skopeo\. Install Skopeo/);
  });

  it('makes a first key that only its owner can read', async () => {
    const file = join(world.dataDir, 'api-key');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await readFile(file, 'utf8')).trim()).toBe(world.service.key);
    expect(world.service.output()).toContain(file);
    expect(world.service.output()).not.toContain(world.service.key);
  });

  it('on SIGTERM finishes the answers that are under way, takes no more, and exits with 0', async () => {
    await push(world.source.url, 'last', '1', manifestOf([noiseLayer(1, 5000)]));
    const rule = gate.add(/^HEAD \/v2\/last\//, { kind: 'hold' });
    const answer = world.submit(`${gate.host}/last:1`);
    await rule.met;
    const ended = world.service.stop('SIGTERM');
    // The door is closed before the answer is given.
    const isOpen = () =>
      fetch(`${world.service.url}/health`).then(
        ({ ok }) => ok,
        () => false,
      );
    while (await isOpen()) continue;
    rule.release();
    expect(await answer).toMatchObject({ status: 200, body: { cached: false } });
    expect(await ended).toBe(0);
    expect(world.service.output()).not.toContain('given back in time');
    await world.restart();
    expect(await world.finished((await answer).body.requestId)).toMatchObject({ succeeded: true });
  });

  it('takes DRAY_API_KEY as an administrator, and makes no key then', async () => {
    const key = newSecret('the administrator’s own key');
    const other = await createWorld({ env: { DRAY_API_KEY: key } });
    try {
      const authorization = `Bearer ${key}`;
      expect(await other.call('GET', '/v1/keys', undefined, { authorization })).toMatchObject({
        status: 200,
        body: { keys: [] },
      });
      await expect(stat(join(other.dataDir, 'api-key'))).rejects.toThrow('ENOENT');
    } finally {
      await other.stop();
    }
  });

  it('names its public address in links', async () => {
    const other = await createWorld({ env: { DRAY_URL: 'https://dray.example.com/base/' } });
    try {
      await push(other.source.url, 'x', '1', manifestOf([noiseLayer(2, 500)]));
      await push(other.target.url, 'x', '1', manifestOf([noiseLayer(3, 500)]));
      const target = await startGate(other.target.host);
      target.add(/^PUT .*manifests\/1$/, { kind: 'answer', status: 403 });
      const { body } = await other.submit(`${other.source.host}/x:1`, target.host);
      const { detailsUri } = await other.finished(body.requestId);
      expect(detailsUri).toBe(`https://dray.example.com/base/view/mirrors/${body.buildId}`);
      await target.stop();
    } finally {
      await other.stop();
    }
  });
});
