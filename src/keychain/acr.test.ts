import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { describeKeychain } from '../../test/conformance/keychain.ts';
import { startAcr, type TestAcr } from '../../test/fixtures/acr.ts';
import { manifestOf, noiseLayer } from '../../test/fixtures/image.ts';
import { type NameProxy, startNameProxy } from '../../test/fixtures/name-proxy.ts';
import type { Digest } from '../core/digest.ts';
import { MirrorError } from '../core/errors.ts';
import { isLoopback } from '../core/reference.ts';
import { allowAll } from '../lib/address.ts';
import { createDispatchers, type Dispatchers } from '../lib/http.ts';
import { createAzureKeychain, isAzureHost } from './acr.ts';

const { signal } = new AbortController();

let acr: TestAcr;
let proxy: NameProxy;
let dispatchers: Dispatchers;

// One for all tests: Microsoft's library keeps the machine's tokens for as long as the process lives.
beforeAll(async () => {
  acr = await startAcr();
});
afterAll(() => acr.stop());
beforeEach(async () => {
  proxy = await startNameProxy({ [acr.name]: acr.place });
  dispatchers = createDispatchers({
    hosts: new Map([[acr.name, { ca: acr.caFile }]]),
    proxy: { https: proxy.url },
    policy: allowAll,
    isLocal: isLoopback,
  });
  for (const [name, value] of Object.entries(acr.env)) vi.stubEnv(name, value);
  // Nothing that a developer has logged in to.
  vi.stubEnv('AZURE_TOKEN_CREDENTIALS', 'prod');
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all([dispatchers.close(), proxy.stop()]);
});

const repository = () => ({ registry: acr.name, path: 'team/app' });
const create = () =>
  createAzureKeychain([{ host: acr.name, login: 'azure' }, { host: 'quay.io' }], dispatchers);

async function refusal(work: Promise<unknown>): Promise<MirrorError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(MirrorError);
  const { message, remedy, cause } = error as MirrorError;
  const told = [message, remedy, String(cause), JSON.stringify(cause)].join();
  expect(acr.secrets().filter((secret) => told.includes(secret))).toEqual([]);
  return error as MirrorError;
}

it.each([
  ['acme.azurecr.io', true],
  ['acme.azurecr.cn', true],
  ['azurecr.io', false],
  ['acme.azurecr.io.example.com', false],
  ['acme.azurecr.io:5000', false],
])('knows whether %s is a host of Azure: %s', (name, is) => expect(isAzureHost(name)).toBe(is));

describeKeychain('Azure', async () => create(), {
  'acme.azurecr.io': {
    username: '00000000-0000-0000-0000-000000000000',
    identityToken: expect.stringMatching(/^eyJ/) as string,
  },
});

describe('a login to Azure', () => {
  it('is a refresh token, got once for all who ask, with which the registry client can push', async () => {
    const { createRegistry } = await import('../registry/client.ts');
    const keychain = create();
    const before = acr.calls().length;
    const [credential, ...others] = await Promise.all(
      Array.from({ length: 5 }, () => keychain.resolve(repository(), signal)),
    );
    expect(credential).toMatchObject({ username: '00000000-0000-0000-0000-000000000000' });
    expect(others).toEqual(others.map(() => credential));
    expect(acr.calls().slice(before)).toEqual(['exchange']);
    const client = createRegistry({
      hosts: new Map([[acr.name, { ca: acr.caFile }]]),
      proxy: { https: proxy.url },
      policy: allowAll,
    });
    const image = manifestOf([noiseLayer(1, 100)]);
    const manifest = { ...image, digest: image.digest as Digest, size: image.bytes.length };
    // Its blobs are not there: the registry has looked at more than the token.
    const pushed = client.putManifest(repository(), 'v1', manifest, { credential, signal });
    expect(await refusal(pushed)).toMatchObject({ code: 'copy_failed' });
    expect(acr.calls().slice(before)).toEqual(['exchange', 'token repository:team/app:pull,push']);
    await client.close();
  });

  it('is renewed before it ends', async () => {
    const keychain = create();
    vi.useFakeTimers({ toFake: ['performance'] });
    try {
      const first = await keychain.resolve(repository(), signal);
      vi.advanceTimersByTime(9_710_000);
      expect(await keychain.resolve(repository(), signal)).toEqual(first);
      vi.advanceTimersByTime(20_000);
      expect(await keychain.resolve(repository(), signal)).not.toEqual(first);
    } finally {
      vi.useRealTimers();
    }
  });

  it('is refused when the registry does not know the identity', async () => {
    acr.refuseIdentity(true);
    expect(await refusal(create().resolve(repository(), signal))).toMatchObject({
      code: 'credentials_rejected',
      message: expect.stringContaining('401') as string,
      remedy: expect.stringContaining('AcrPull') as string,
    });
    acr.refuseIdentity(false);
  });

  it('is refused when the machine gives no identity', async () => {
    vi.stubEnv('AZURE_TOKEN_CREDENTIALS', 'EnvironmentCredential');
    const before = acr.calls().length;
    expect(await refusal(create().resolve(repository(), signal))).toMatchObject({
      code: 'credentials_rejected',
      message: expect.stringContaining('Azure gives no token') as string,
    });
    expect(acr.calls()).toHaveLength(before);
  });

  it.each([
    [429, 'rate_limited'],
    [503, 'registry_unavailable'],
    [403, 'denied'],
  ])('that fails with %i is %s, and not kept', async (status, code) => {
    acr.fail(status, 1);
    const keychain = create();
    expect(await refusal(keychain.resolve(repository(), signal))).toMatchObject({ code });
    expect(await keychain.resolve(repository(), signal)).toBeDefined();
  });

  it('that the network does not let us have can be had later', async () => {
    await proxy.stop();
    expect(await refusal(create().resolve(repository(), signal))).toMatchObject({
      code: 'registry_unavailable',
      retryable: true,
    });
    proxy = await startNameProxy({});
  });
});
