import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { configJsonSchema, loadConfig } from './config.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dray-config-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const write = (text: string, name = 'dray.yaml') => writeFileSync(join(folder, name), text);
const load = (env: NodeJS.ProcessEnv = {}) => loadConfig({ HOME: folder, ...env }, folder);

describe('loadConfig', () => {
  it('needs no file', () => {
    const config = load();
    expect(config).toMatchObject({ host: '127.0.0.1', port: 9090, freshness: 5, overwrite: 'same-origin' });
    expect(config.dataDir).toBe(join(folder, '.dray'));
    expect(config.dockerConfig).toBe(join(folder, '.docker/config.json'));
    expect(config).not.toHaveProperty('apiKey');
  });

  it('lets the environment win over the file', () => {
    write('port: 1000\nhost: 0.0.0.0\n');
    expect(load({ DRAY_PORT: '2000' })).toMatchObject({ port: 2000, host: '0.0.0.0' });
  });

  it('reads paths of the file from where the file is, and those of the environment from where one stands', () => {
    write('dataDir: data\ndockerConfig: config.json\n', 'other.yaml');
    write('{}', 'config.json');
    const config = loadConfig({ HOME: '/', DRAY_CONFIG: join(folder, 'other.yaml') }, '/');
    expect(config).toMatchObject({
      dataDir: join(folder, 'data'),
      dockerConfig: join(folder, 'config.json'),
    });
    const moved = loadConfig({ DRAY_CONFIG: join(folder, 'other.yaml'), DRAY_DATA_DIR: 'd' }, '/');
    expect(moved.dataDir).toBe('/d');
  });

  it('reads passwords from variables and files, by the host that they are for', () => {
    write('s3cret\n', 'pw');
    write(`registries:
  - {host: index.docker.io, username: a, password: {env: HUB}}
  - {host: "localhost:5000", username: b, password: {file: pw}}`);
    expect([...load({ HUB: 'x' }).passwords]).toEqual([
      ['docker.io', 'x'],
      ['localhost:5000', 's3cret'],
    ]);
  });

  it.each([
    ['port: 99999', {}, ['port', 'dray.yaml', '9090']],
    ['', { DRAY_PORT: 'abc' }, ['DRAY_PORT', '9090']],
    ['', { DRAY_URL: 'nonsense' }, ['DRAY_URL', 'https://']],
    ['', { DRAY_DATABASE_URL: 'mysql://x' }, ['DRAY_DATABASE_URL', 'postgres://']],
    ['prot: 1', {}, ['unknown setting "prot"', 'Did you mean "port"?']],
    ['nonsense: 1', {}, ['unknown setting "nonsense"', 'dray.schema.json lists all']],
    ['limits: {submits: {}}', {}, ['limits (in', '"submits"', 'Did you mean "submit"?']],
    ['registries: [{host: q.io, user: a}]', {}, ['registries[0]', 'unknown setting "user"']],
    ['registries: [{host: q.io, usernam: a}]', {}, ['registries[0]', 'Did you mean "username"?']],
    ['registries: [{host: q.io, password: {env: A, fiel: b}}]', {}, ['Did you mean "file"?']],
    ['port: abc', {}, ['port', 'must be a number, not text']],
    ['port: 80.5', {}, ['port', 'must be a whole number. Give']],
    ['port:', {}, ['port', 'is empty, and must be a number']],
    ['copies: [1]', {}, ['must be a number, not a list']],
    ['copies: 0', {}, ['must be at least 1']],
    ['submitBudget: 301', {}, ['must be at most 300']],
    ['skopeo: {path: ""}', {}, ['skopeo.path', 'must not be empty']],
    ['overwrite: never', {}, ['must be one of same-origin, always']],
    ['limits: 5', {}, ['limits', 'must be a group of settings, not a number']],
    ['registries: [{insecure: true}]', {}, ['registries[0].host', 'is missing']],
    ['dockerConfig: true', {}, ['dockerConfig', 'is in none of the forms']],
    ['copies: 0\nfreshness: -1', {}, ['copies', 'freshness']],
    ['- 1', {}, ['must hold settings']],
    ['a: [', {}, ['no YAML']],
    ['registries: [{host: "http://x"}]', {}, ['registries[0].host', 'quay.io']],
    [
      'registries: [{host: q.io, username: a, password: plain}]',
      {},
      ['registries[0].password', '{env: NAME}'],
    ],
    ['registries: [{host: q.io, username: a, password: {env: NOPE}}]', {}, ['q.io', 'NOPE']],
    ['registries: [{host: q.io, username: a, password: {file: nope}}]', {}, ['q.io', 'nope', 'ENOENT']],
    ['registries: [{host: q.io, username: a}]', {}, ['belong together']],
    ['registries: [{host: q.io, ca: nope.pem}]', {}, ['q.io', 'nope.pem']],
    ['dockerConfig: nope.json', {}, ['dockerConfig', 'nope.json']],
    ['network: {allow: ["10.0.0.0/33"]}', {}, ['network.allow[0]', '10.1.0.0/16']],
    ['policy: [{name: a}]', {}, ['policy[0]', 'demands nothing', 'allowSources']],
    ['policy: [{deny: true}]', {}, ['policy[0].name', 'is missing']],
    ['policy: [{name: a, deny: true}, {name: a, immutable: true}]', {}, ['policy', 'has a name twice']],
    ['policy: [{name: a, deny: true, tenants: [alice]}]', {}, ['policy[0].tenants[0]', 'is no tenant']],
    ['policy: [{name: a, deny: true, source: ["**"]}]', {}, ['Did you mean "sources"?']],
    ['policy: [{name: a, deny: true, sources: [ubuntu]}]', {}, ['policy[0].sources[0]', 'names no path']],
    ['policy: [{name: a, allowTargets: []}]', {}, ['policy[0].allowTargets', 'must have at least 1']],
    ['policy: [{name: a, deny: false}]', {}, ['policy[0].deny', 'must be true']],
    ['policy: [{name: a, maxSize: 20 apples}]', {}, ['policy[0].maxSize', '20GB']],
    ['policy: [{name: a, minAge: 0}]', {}, ['policy[0].minAge']],
    ['policy: [{name: a, signedBy: [nope.pub]}]', {}, ['policy (a).signedBy', 'nope.pub', 'ENOENT']],
    ['policy: [{name: a, signedBy: [dray.yaml]}]', {}, ['policy (a).signedBy', 'holds no public key']],
    ['network: {allow: [minio, "a.corp:9000"]}', {}, ['network.allow[1]', '*.corp.example']],
  ])('stops at %j with %j, naming the setting, the fault and the fix', (text, env, parts) => {
    write(text);
    let message = '';
    try {
      load(env);
    } catch (error) {
      message = (error as Error).message;
    }
    for (const part of parts) expect(message).toContain(part);
    // Those are zod's own words.
    expect(message).not.toMatch(/Invalid|expected|received|>=|<=/);
  });

  it('reads sizes with units, and the public keys of each rule', () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    write(publicKey.export({ type: 'spki', format: 'pem' }) as string, 'cosign.pub');
    write('policy: [{name: a, maxSize: 1.5GiB}, {name: b, maxSize: 12}, {name: c, signedBy: [cosign.pub]}]');
    const { policy, policyKeys } = load();
    expect(policy.map(({ maxSize }) => maxSize)).toEqual([1.5 * 2 ** 30, 12, undefined]);
    expect([...policyKeys].map(([name, keys]) => [name, keys.length])).toEqual([['c', 1]]);
  });

  it('stops when DRAY_CONFIG names no readable file', () => {
    expect(() => load({ DRAY_CONFIG: 'gone.yaml' })).toThrow(/DRAY_CONFIG: .*gone\.yaml/);
  });

  it('gives a child only what it needs', () => {
    expect(load({ PATH: '/bin', SECRET: 'x', NO_PROXY: 'a' }).childEnv).toEqual({
      PATH: '/bin',
      HOME: folder,
      NO_PROXY: 'a',
    });
  });
});

it('dray.schema.json is the schema of this code (npm run schema writes it)', () => {
  const published: unknown = JSON.parse(
    readFileSync(new URL('../dray.schema.json', import.meta.url), 'utf8'),
  );
  expect(published).toEqual(JSON.parse(JSON.stringify(configJsonSchema())));
});
