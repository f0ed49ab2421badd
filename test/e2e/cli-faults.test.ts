import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDray } from '../fixtures/command.ts';
import { manifestOf, noiseLayer, push } from '../fixtures/image.ts';
import { freePort, startRegistry, type TestRegistry } from '../fixtures/registry.ts';

let folder: string;
let env: Record<string, string>;
let source: TestRegistry;
let target: TestRegistry;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dray-faults-'));
  await Promise.all(
    ['home/.docker', 'here', 'tmp'].map((name) => mkdir(join(folder, name), { recursive: true })),
  );
  env = { HOME: join(folder, 'home'), TMPDIR: join(folder, 'tmp'), DRAY_PORT: String(await freePort()) };
  [source, target] = await Promise.all([startRegistry(), startRegistry()]);
  await push(source.url, 'lib/app', '1', manifestOf([noiseLayer(1, 5000)]));
});
afterAll(async () => {
  await Promise.all([source.stop(), target.stop()]);
  await rm(folder, { recursive: true, force: true });
});

const here = () => join(folder, 'here');
const run = (args: string[], more: Record<string, string> = {}) =>
  runDray(args, { env: { ...env, ...more }, cwd: here() });
const docker = (text: string) => writeFile(join(folder, 'home/.docker/config.json'), text);

describe('a service that is lost in the middle of a copy', () => {
  it('has not failed: what it does goes on, and the command says where to look', async () => {
    // It takes a mirror, and then lets nobody look.
    const service = createServer((request, response) => {
      response.setHeader('content-type', 'application/json');
      if (request.url === '/service-info') return response.end('{"serviceInfo": {}}');
      if (request.method !== 'POST') return response.writeHead(401).end('{}');
      const outcome = {
        image: 'a/app:1',
        to: 'b',
        requestId: 'r',
        target: 'b/app:1',
        digest: 'sha256:0',
        cached: false,
        mirrorId: 'mr-7',
      };
      response.end(JSON.stringify({ outcomes: [outcome] }));
    }).listen(0, '127.0.0.1');
    await once(service, 'listening');
    const url = `http://127.0.0.1:${(service.address() as AddressInfo).port}`;
    const args = ['mirror', 'a/app:1', '--to', 'b', '--url', url];
    const plain = await run(args, { DRAY_API_KEY: 'not-a-key-of-anybody' });
    const json = await run([...args, '--json'], { DRAY_API_KEY: 'not-a-key-of-anybody' });
    service.close();
    expect(plain.code).toBe(75);
    expect(plain.stdout).toContain('queued');
    expect(plain.stderr).toBe(
      `! a/app:1\n  ${url} tells no more: The key is not accepted; the copy goes on there: dray status mr-7\n`,
    );
    expect(json.code).toBe(75);
    expect(JSON.parse(json.stdout)).toMatchObject({
      state: 'queued',
      id: 'mr-7',
      note: expect.stringContaining('dray status mr-7') as string,
    });
  });
});

describe('without a service and a data folder', () => {
  it.each([[['keys', 'list']], [['keys', 'revoke', 'key-1']]])('%j makes none, and says so', async (args) => {
    const { code, stderr } = await run(args);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /No service runs at 127\.0\.0\.1:\d+, and \S+\/here\/\.dray is no data folder of one\.[\s\S]*dray serve[\s\S]*DRAY_DATA_DIR/,
    );
    expect(readdirSync(here())).toEqual([]);
  });
});

describe('a Docker configuration that is broken', () => {
  it("is no registry's fault", async () => {
    await docker('{"auths": {');
    const args = ['mirror', `${source.host}/lib/app:1`, '--to', target.host];
    const { code, stderr } = await run(args);
    expect(code).toBe(1);
    expect(stderr).toContain('config.json is no Docker configuration file.');
    expect(stderr).toContain('side:    in the request or in Dray (logins_unreadable)');
    expect(stderr).toContain('`dockerConfig: false`');
    const doctor = await run(['doctor', '--json']);
    expect(doctor.code).toBe(1);
    expect(doctor.stdout).toMatch(
      /"check":"logins","state":"bad".*config\.json is no Docker configuration file/,
    );
  });
});

describe('dray doctor', () => {
  it('looks at the registries that Docker has a login for', async () => {
    const auth = Buffer.from('ann:secret').toString('base64');
    await docker(JSON.stringify({ auths: { [source.url]: { auth }, 'localhost:1': { auth } } }));
    const { code, stdout } = await run(['doctor']);
    expect(stdout).toContain(`${source.host} answers with the login of ann`);
    // Whoever logged in there long ago may not care.
    expect(stdout).toMatch(/! localhost:1/);
    expect(code).toBe(0);
    expect((await run(['doctor', 'localhost:1'])).code).toBe(1);
  });

  it('says that there is no login where there is none', async () => {
    await docker('{}');
    expect((await run(['doctor'])).stdout).toContain(
      'There is no login for any registry, in dray.yaml or of Docker',
    );
  });
});

describe('a setting with a wrong name', () => {
  it('is answered with the one that was meant', async () => {
    const config = join(folder, 'typo.yaml');
    await writeFile(config, 'registrys: []\nlimits: {failedLogin: 3}\ncopies: many\n');
    const { code, stderr } = await run(['serve'], { DRAY_CONFIG: config });
    expect(code).toBe(78);
    expect(stderr).toContain('unknown setting "registrys". Did you mean "registries"?');
    expect(stderr).toContain('unknown setting "failedLogin". Did you mean "failedLogins"?');
    expect(stderr).toContain(`copies (in ${config}): must be a number, not text.`);
  });
});
