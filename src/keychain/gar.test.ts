import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { describeKeychain } from '../../test/conformance/keychain.ts';
import { startGoogle, type TestGoogle } from '../../test/fixtures/google.ts';
import { type NameProxy, startNameProxy } from '../../test/fixtures/name-proxy.ts';
import { MirrorError } from '../core/errors.ts';
import { isLoopback } from '../core/reference.ts';
import { allowAll } from '../lib/address.ts';
import { createDispatchers, type Dispatchers } from '../lib/http.ts';
import { createGoogleKeychain, isGoogleHost } from './gar.ts';

const host = 'europe-west1-docker.pkg.dev';
const repository = { registry: host, path: 'project/team/app' };
const { signal } = new AbortController();

let google: TestGoogle;
let proxy: NameProxy;
let dispatchers: Dispatchers;
let folder: string;
/** How many tokens had been asked for when the test began. */
let before: number;

beforeAll(async () => {
  google = await startGoogle();
});
afterAll(() => google.stop());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dray-gar-'));
  before = google.calls().length;
  proxy = await startNameProxy({ [google.name]: google.place });
  dispatchers = createDispatchers({
    hosts: new Map([[google.name, { ca: google.caFile }]]),
    proxy: { https: proxy.url },
    policy: allowAll,
    isLocal: isLoopback,
  });
  // Nothing of the machine's own.
  vi.stubEnv('HOME', folder);
  vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', '');
  vi.stubEnv('GCE_METADATA_HOST', google.env['GCE_METADATA_HOST'] ?? '');
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all([dispatchers.close(), proxy.stop()]);
  await rm(folder, { recursive: true });
});

const withKey = (file = google.keyFile) =>
  createGoogleKeychain([{ host, login: 'google', key: { file } }], dispatchers);
const ambient = () => createGoogleKeychain([{ host, login: 'google' }, { host: 'quay.io' }], dispatchers);

async function refusal(work: Promise<unknown>): Promise<MirrorError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(MirrorError);
  const { message, remedy, cause } = error as MirrorError;
  const told = [message, remedy, String(cause), JSON.stringify(cause)].join();
  expect(google.secrets().filter((secret) => told.includes(secret))).toEqual([]);
  return error as MirrorError;
}

const token = {
  [host]: { username: 'oauth2accesstoken', password: expect.stringMatching(/^ya29\./) as string },
};
describeKeychain('Google, with a key', async () => withKey(), token);
describeKeychain('Google, ambient', async () => ambient(), token);

it.each([
  ['europe-west1-docker.pkg.dev', true],
  ['gcr.io', true],
  ['eu.gcr.io', true],
  ['pkg.dev', false],
  ['gcr.io.example.com', false],
  ['evilgcr.io', false],
])('knows whether %s is a host of Google: %s', (name, is) => expect(isGoogleHost(name)).toBe(is));

describe('a token of Google', () => {
  it('comes for a key, through the proxy, once for all who ask', async () => {
    const keychain = withKey();
    const [first, ...others] = await Promise.all(
      Array.from({ length: 5 }, () => keychain.resolve(repository, signal)),
    );
    expect(first && 'password' in first && google.knowsToken(first.password)).toBe(true);
    expect(others).toEqual(others.map(() => first));
    await keychain.resolve(repository, signal);
    expect(google.calls().slice(before)).toEqual(['key']);
    expect(proxy.seen).toEqual(['oauth2.googleapis.com:443']);
  });

  it('comes from the machine, and is renewed before it ends', async () => {
    const keychain = ambient();
    vi.useFakeTimers({ toFake: ['performance'] });
    try {
      const first = await keychain.resolve(repository, signal);
      vi.advanceTimersByTime(3_230_000);
      expect(await keychain.resolve(repository, signal)).toEqual(first);
      vi.advanceTimersByTime(20_000);
      expect(await keychain.resolve(repository, signal)).not.toEqual(first);
    } finally {
      vi.useRealTimers();
    }
    expect(google.calls().slice(before)).toEqual(['metadata', 'metadata']);
  });

  it('is refused for a key that was deleted, which is named by its file', async () => {
    const file = join(folder, 'other.json');
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
    await writeFile(file, JSON.stringify({ type: 'service_account', client_email: 'x@y', private_key: pem }));
    expect(await refusal(withKey(file).resolve(repository, signal))).toMatchObject({
      code: 'credentials_rejected',
      message: expect.stringContaining(file) as string,
    });
    expect(google.calls().slice(before)).toEqual(['key 400']);
  });

  it.each(['{"private_key": "s3cr3t"', '{"private_key": "s3cr3t", "client_email": "x@y"}', ''])(
    'is not asked for with the file %j, which is not quoted',
    async (text) => {
      const file = join(folder, 'broken.json');
      await writeFile(file, text);
      const error = await refusal(withKey(file).resolve(repository, signal));
      expect(error).toMatchObject({ code: 'credentials_rejected' });
      expect(error.message + String(error.cause)).not.toContain('s3cr3t');
    },
  );

  it.each([
    [429, 'rate_limited'],
    [503, 'registry_unavailable'],
  ])('that fails with %i is %s, and not kept', async (status, code) => {
    google.fail(status, 10);
    const keychain = withKey();
    expect(await refusal(keychain.resolve(repository, signal))).toMatchObject({ code, retryable: true });
    google.fail(status, 0);
    expect(await keychain.resolve(repository, signal)).toBeDefined();
  });

  it('that the network does not let us have can be had later', async () => {
    await proxy.stop();
    expect(await refusal(withKey().resolve(repository, signal))).toMatchObject({
      code: 'registry_unavailable',
      retryable: true,
    });
    proxy = await startNameProxy({});
  });
});
