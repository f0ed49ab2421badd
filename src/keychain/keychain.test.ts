import { chmod, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeKeychain } from '../../test/conformance/keychain.ts';
import { createDockerConfigKeychain, listDockerHosts } from './docker-config.ts';
import { chain } from './keychain.ts';
import { createStaticKeychain } from './static.ts';

let folder: string;
let path: string;
const signal = new AbortController().signal;
const env = () => ({ PATH: `${folder}:${process.env['PATH'] ?? ''}` });
const base64 = (text: string) => Buffer.from(text).toString('base64');

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dray-keychain-'));
  path = join(folder, 'config.json');
});
afterAll(() => rm(folder, { recursive: true }));

async function dockerConfig(config: unknown) {
  await writeFile(path, typeof config === 'string' ? config : JSON.stringify(config));
  return createDockerConfigKeychain(path, env());
}

/** A credential helper: a script that reads the server and answers as told. */
async function helper(name: string, script: string) {
  const file = join(folder, `docker-credential-${name}`);
  await writeFile(file, `#!/bin/sh\nread -r server\n${script}\n`);
  await chmod(file, 0o755);
}

describeKeychain('static', async () =>
  createStaticKeychain(
    [
      { host: 'docker.io', username: 'hub' },
      { host: 'localhost:5000', username: 'local' },
      { host: 'quay.io', insecure: true },
    ],
    new Map([
      ['docker.io', 'a:b c'],
      ['localhost:5000', 'pässwörd'],
    ]),
  ),
);

describeKeychain('docker config', () =>
  dockerConfig({
    auths: {
      'https://index.docker.io/v1/': { auth: base64('hub:a:b c') },
      'localhost:5000': { username: 'local', password: 'pässwörd' },
      empty: {},
    },
  }),
);

describeKeychain('docker config with helpers', async () => {
  await helper(
    'all',
    `case "$server" in
      https://index.docker.io/v1/) echo '{"ServerURL":"x","Username":"hub","Secret":"a:b c"}';;
      *) echo "credentials not found in native keychain"; exit 1;;
    esac`,
  );
  await helper('own', `echo '{"Username":"local","Secret":"pässwörd"}'`);
  return dockerConfig({ credsStore: 'all', credHelpers: { 'localhost:5000': 'own' } });
});

describe('docker config', () => {
  const ask = async (config: unknown, registry: string, image = 'a/b') =>
    (await dockerConfig(config)).resolve({ registry, path: image }, signal);

  it('has nothing where there is no file', async () => {
    const keychain = createDockerConfigKeychain(join(folder, 'none.json'), {});
    expect(await keychain.resolve({ registry: 'quay.io', path: 'a' }, signal)).toBeUndefined();
  });

  it('knows identity tokens, from the file and from a helper', async () => {
    const auths = { 'acr.io': { auth: base64('00000000:'), identitytoken: 'refresh' } };
    expect(await ask({ auths }, 'acr.io')).toEqual({ username: '00000000', identityToken: 'refresh' });
    await helper('token', `echo '{"Username":"<token>","Secret":"refresh"}'`);
    expect(await ask({ credsStore: 'token' }, 'acr.io')).toEqual({ identityToken: 'refresh' });
  });

  it('takes the entry with the longest path that fits', async () => {
    const auths = {
      'https://quay.io/v2/': { auth: base64('host:1') },
      'quay.io/team': { auth: base64('team:2') },
      'quay.io/team/app': { auth: base64('app:3') },
    };
    expect(await ask({ auths }, 'quay.io', 'team/app')).toMatchObject({ username: 'app' });
    expect(await ask({ auths }, 'quay.io', 'team/other')).toMatchObject({ username: 'team' });
    expect(await ask({ auths }, 'quay.io', 'teams/app')).toMatchObject({ username: 'host' });
  });

  it('reads the file again when it has changed', async () => {
    const keychain = await dockerConfig({ auths: { 'quay.io': { auth: base64('old:1') } } });
    expect(await keychain.resolve({ registry: 'quay.io', path: 'a' }, signal)).toMatchObject({
      username: 'old',
    });
    await writeFile(path, JSON.stringify({ auths: { 'quay.io': { auth: base64('new:1') } } }));
    await utimes(path, new Date(), new Date(Date.now() + 5000));
    expect(await keychain.resolve({ registry: 'quay.io', path: 'a' }, signal)).toMatchObject({
      username: 'new',
    });
  });

  it.each([
    ['{"auths": {"quay.io": {"auth": "s3cr3t', 'config.json'],
    ['[]x', 'config.json'],
    ['null', 'config.json'],
    [{ auths: { 'quay.io': { auth: base64('s3cr3t-without-colon') } } }, 'config.json'],
    [{ credsStore: 'missing' }, 'docker-credential-missing'],
    [{ credsStore: '../../bin/sh' }, 'no valid name'],
    [{ credsStore: 'broken' }, 'JSON'],
    [{ credsStore: 'failing' }, 'status 3'],
  ])('names the culprit of %j and nothing secret', async (config, culprit) => {
    await helper('broken', 'echo s3cr3t');
    await helper('failing', 'echo s3cr3t; exit 3');
    const error = await ask(config, 'quay.io').catch((reason: unknown) => reason as Error);
    expect(error).toMatchObject({
      code: culprit === 'config.json' ? 'logins_unreadable' : 'credentials_rejected',
      message: expect.stringContaining(culprit) as string,
    });
    expect(JSON.stringify(error) + (error as Error).message).not.toContain('s3cr3t');
  });
});

it('a docker config that is there and can not be read is named', async () => {
  const keychain = createDockerConfigKeychain(folder, {});
  const failure = { code: 'logins_unreadable', message: expect.stringContaining(folder) as string };
  await expect(keychain.resolve({ registry: 'quay.io', path: 'a' }, signal)).rejects.toMatchObject(failure);
  await expect(listDockerHosts(folder)).rejects.toMatchObject(failure);
});

it('a helper that the caller has no time for is not said to be wrong', async () => {
  await helper('slow', 'exec sleep 60');
  const keychain = await dockerConfig({ credsStore: 'slow' });
  await expect(
    keychain.resolve({ registry: 'quay.io', path: 'a' }, AbortSignal.timeout(1)),
  ).rejects.toMatchObject({ code: 'timeout', retryable: true });
});

it('a chain takes the first keychain that has the host', async () => {
  const own = (username: string, registry: string) =>
    createStaticKeychain([{ host: registry, username }], new Map([[registry, 'x']]));
  const keychain = chain(own('first', 'a.io'), own('second', 'a.io'), own('third', 'b.io'));
  expect(await keychain.resolve({ registry: 'a.io', path: 'x' }, signal)).toMatchObject({
    username: 'first',
  });
  expect(await keychain.resolve({ registry: 'b.io', path: 'x' }, signal)).toMatchObject({
    username: 'third',
  });
  expect(await keychain.resolve({ registry: 'c.io', path: 'x' }, signal)).toBeUndefined();
});
