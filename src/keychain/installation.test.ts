import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { startAws, type TestAws } from '../../test/fixtures/aws.ts';
import { createEcrLogins, createKeychain } from './installation.ts';
import { ConfigError, loadConfig } from '../config.ts';

const ecr = '123456789012.dkr.ecr.eu-west-1.amazonaws.com';
const { signal } = new AbortController();
let folder: string;
let aws: TestAws;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dray-compose-'));
  aws = await startAws();
  for (const [name, value] of Object.entries(aws.env)) vi.stubEnv(name, value);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await aws.stop();
  await rm(folder, { recursive: true });
});

async function configOf(text: string) {
  const file = join(folder, 'dray.yaml');
  await writeFile(file, text);
  const secret = aws.user.secretKey;
  return loadConfig({ DRAY_CONFIG: file, HOME: folder, SECRET: secret }, folder);
}

describe('the keychain of the installation', () => {
  const ask = (keychain: ReturnType<typeof createKeychain>, registry: string) =>
    keychain.resolve({ registry, path: 'a/b' }, signal);

  it('gives callers of Seqera Platform what is shared, and nothing of Docker’s', async () => {
    await writeFile(
      join(folder, 'docker.json'),
      JSON.stringify({ auths: { 'docker.example': { auth: Buffer.from('me:x').toString('base64') } } }),
    );
    const config = await configOf(`
dockerConfig: docker.json
registries:
  - {host: shared.example, username: all, password: {env: SECRET}, shared: true}
  - {host: own.example, username: us, password: {env: SECRET}}
  - {host: ${ecr}, username: ${aws.user.accessKey}, password: {env: SECRET}}
`);
    const hosts = ['shared.example', 'own.example', 'docker.example', ecr];
    const names = async (sharedOnly: boolean) => {
      const keychain = createKeychain(config, { sharedOnly });
      return Promise.all(hosts.map(async (host) => (await ask(keychain, host))?.username));
    };
    expect(await names(false)).toEqual(['all', 'us', 'me', 'AWS']);
    expect(await names(true)).toEqual(['all', undefined, undefined, undefined]);
  });

  it('makes a login of AWS keys, and leaves one of the user AWS as it is', async () => {
    const keys = await configOf(
      `registries: [{host: ${ecr}, username: ${aws.user.accessKey}, password: {env: SECRET}}]`,
    );
    expect(await ask(createKeychain(keys), ecr)).toMatchObject({ username: 'AWS' });
    expect(await createKeychain(keys).prepare?.({ registry: ecr, path: 'a/b' }, signal)).toBe(true);
    const login = await configOf(`registries: [{host: ${ecr}, username: AWS, password: {env: SECRET}}]`);
    expect(await ask(createKeychain(login), ecr)).toEqual({ username: 'AWS', password: aws.user.secretKey });
  });

  it.each([
    ['aws', 'quay.io'],
    ['google', 'gcr.io.example.com'],
    ['azure', 'docker.io'],
  ])('refuses a login of %s on %s', async (login, host) => {
    const config = await configOf(`registries: [{host: ${host}, login: ${login}}]`);
    expect(() => createKeychain(config)).toThrow(ConfigError);
  });
});

it('keeps the roles of its entries from callers who name them', async () => {
  const role = 'arn:aws:iam::123456789012:role/ours';
  const logins = createEcrLogins(
    await configOf(`registries: [{host: ${ecr}, login: aws, role: "${role}", shared: true}]`),
  );
  const identify = (assumeRoleArn: string) => logins.identityOf({ assumeRoleArn, externalId: 'guess' }, ecr);
  expect(() => identify(role)).toThrow('not for its callers');
  expect(() => identify(role.replace('ours', 'Ours'))).toThrow('not for its callers');
  expect(identify(`${role}-not`)).toEqual({ role: { arn: `${role}-not`, externalId: 'guess' } });
});
