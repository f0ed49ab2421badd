import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { manifestOf, noiseLayer } from '../../test/fixtures/image.ts';
import {
  adminBasic,
  adminLogin,
  freePort,
  startRegistry,
  type TestRegistry,
} from '../../test/fixtures/registry.ts';
import { newSecret } from '../../test/fixtures/secrets.ts';
import { answer, forward, type StandIn, startStandIn } from '../../test/fixtures/stand-in.ts';
import { parametersOf, startTokenServer, type TokenServer } from '../../test/fixtures/token-server.ts';
import type { Credential } from '../core/credential.ts';
import type { Digest } from '../core/digest.ts';
import { allowAll } from '../lib/address.ts';
import type { MirrorError } from '../core/errors.ts';
import { createRegistry } from './client.ts';
import type { RegistrySettings } from './realm.ts';
import type { Registry } from './registry.ts';

const signal = new AbortController().signal;
const login: Credential = adminLogin;
const basic = adminBasic.authorization;
const wrongSecret = newSecret('wrong password or token');

// A real docker-registry that asks for tokens, and a token server of our own that it trusts.
describe('a registry with a token server', () => {
  const identityToken = newSecret('identity token');
  const everything = { '*': ['pull', 'push'] };
  /** Tokens that the registry no longer takes. */
  const revoked = new Set<string>();
  let tokens: TokenServer;
  let server: TestRegistry;
  let front: StandIn;
  let client: Registry;

  beforeAll(async () => {
    tokens = await startTokenServer({ anonymous: { public: ['pull'] } });
    server = await startRegistry({ token: tokens.trust });
    const behind = forward(server.url);
    front = await startStandIn((seen, response) =>
      revoked.has(seen.headers.authorization ?? '')
        ? answer(response, 401, '', {
            'www-authenticate': `Bearer realm="${tokens.realm}",service="registry",error="invalid_token"`,
          })
        : behind(seen, response),
    );
  });
  beforeEach(() => {
    const hosts = new Map([[front.host, { tokenServers: [tokens.host] }]]);
    client = createRegistry({ hosts, proxy: {}, policy: allowAll });
    tokens.users = [{ ...adminLogin, identityToken, rights: everything }];
    for (const { seen } of [tokens, front]) seen.length = 0;
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    await client.close();
  });
  afterAll(async () => {
    await Promise.all([tokens.stop(), front.stop(), server.stop()]);
  });

  const look = (path: string, credential?: Credential) =>
    client.resolve({ registry: front.host, path, tag: 'v1' }, { credential, signal });
  const asked = () => tokens.seen.map((seen) => Object.fromEntries(parametersOf(seen)));
  const failure = (promise: Promise<unknown>) =>
    promise.then(
      () => undefined,
      (error: unknown) => error as MirrorError,
    );

  it('gets a token for the one repository, without a login where there is none', async () => {
    expect(await look('public')).toBeUndefined();
    expect(asked()).toEqual([{ service: 'registry', scope: 'repository:public:pull' }]);
    expect(tokens.seen[0]?.headers.authorization).toBeUndefined();
  });

  it('asks for push only when it pushes, and sends the login to the token server alone', async () => {
    expect(await look('private', login)).toBeUndefined();
    const image = manifestOf([noiseLayer(1, 100)]);
    const manifest = { ...image, digest: image.digest as Digest, size: image.bytes.length };
    const put = client.putManifest({ registry: front.host, path: 'private' }, 'v1', manifest, {
      credential: login,
      signal,
    });
    // Its blobs are not there: the registry has looked at more than the token.
    expect(await failure(put)).toMatchObject({ code: 'copy_failed' });
    expect(asked().map(({ scope }) => scope)).toEqual([
      'repository:private:pull',
      'repository:private:pull,push',
    ]);
    expect(tokens.seen.map(({ headers }) => headers.authorization)).toEqual([basic, basic]);
    for (const { headers } of front.seen) expect(headers.authorization ?? 'Bearer').toMatch(/^Bearer/);
  });

  it('pings with a token that has no scope', async () => {
    expect(await client.ping(front.host, { credential: login, signal })).toBeInstanceOf(Date);
    expect(asked()).toEqual([{ service: 'registry' }]);
  });

  it('uses a token again, in one round trip, for the same repository and login only', async () => {
    await look('public');
    await look('public');
    expect(tokens.seen).toHaveLength(1);
    expect(front.seen).toHaveLength(3);
    await look('public', login);
    expect(tokens.seen).toHaveLength(2);
    await failure(look('other', login));
    expect(tokens.seen).toHaveLength(3);
  });

  it('fetches one token for all who need it at the same time', async () => {
    await Promise.all(Array.from({ length: 10 }, () => look('public')));
    expect(tokens.seen).toHaveLength(1);
  });

  it('gets a new token before the old one ends', async () => {
    await look('public');
    const now = performance.now();
    const clock = vi.spyOn(performance, 'now');
    clock.mockReturnValue(now + 290_000);
    await look('public');
    expect(tokens.seen).toHaveLength(1);
    clock.mockReturnValue(now + 296_000);
    await look('public');
    expect(tokens.seen).toHaveLength(2);
  });

  it('gets one new token for all when the registry no longer takes the old one', async () => {
    await look('public');
    revoked.add(front.seen.at(-1)?.headers.authorization ?? '');
    expect(await Promise.all(Array.from({ length: 10 }, () => look('public')))).toEqual(
      Array.from({ length: 10 }, () => undefined),
    );
    expect(tokens.seen).toHaveLength(2);
  });

  it('exchanges an identity token, which is never in a URL', async () => {
    expect(await look('private', { identityToken })).toBeUndefined();
    expect(tokens.seen[0]).toMatchObject({ method: 'POST', path: '/token' });
    expect(asked()[0]).toMatchObject({
      ...{ grant_type: 'refresh_token', refresh_token: identityToken },
      ...{ service: 'registry', scope: 'repository:private:pull' },
    });
  });

  it.each<[string, Credential]>([
    ['password', { username: 'admin', password: wrongSecret }],
    ['identity token', { identityToken: wrongSecret }],
  ])('says that a %s is wrong, without showing it', async (_, wrong) => {
    const error = await failure(look('private', wrong));
    expect(error).toMatchObject({ code: 'credentials_rejected' });
    expect(error?.message).not.toContain(wrongSecret);
  });

  it('tells who has no login from who has not the right', async () => {
    tokens.users = [{ ...adminLogin, rights: {} }];
    expect(await failure(look('private'))).toMatchObject({ code: 'login_required' });
    expect(await failure(look('private', login))).toMatchObject({ code: 'insufficient_scope' });
  });
});

describe('a challenge', () => {
  let standIns: StandIn[] = [];
  const hosts = new Map<string, RegistrySettings>();
  const client = createRegistry({ hosts, proxy: {}, policy: allowAll });
  afterEach(async () => {
    await Promise.all(standIns.map((standIn) => standIn.stop()));
    standIns = [];
  });
  afterAll(() => client.close());

  /** Asks a registry that wants a token from this realm. */
  async function ask(
    realm: string,
    credential?: Credential,
    tokenServers: string[] = [],
    stop = signal,
  ): Promise<MirrorError | undefined> {
    const standIn = await startStandIn((_, response) =>
      answer(response, 401, '', { 'www-authenticate': `Bearer realm="${realm}",service="x"` }),
    );
    standIns.push(standIn);
    hosts.set(standIn.host, { tokenServers });
    return client.ping(standIn.host, { credential, signal: stop }).then(
      () => undefined,
      (error: unknown) => error as MirrorError,
    );
  }
  async function realm(status: number, body: unknown): Promise<string> {
    const standIn = await startStandIn((_, response) => answer(response, status, body));
    standIns.push(standIn);
    return `${standIn.url}/token`;
  }

  it.each([
    ['a web page', 200, '<html>', 'protocol'],
    ['an empty token', 200, { token: '' }, 'protocol'],
    ['a token of two lines', 200, { token: 'a\r\nx: y' }, 'protocol'],
    ['500', 500, '', 'registry_unavailable'],
    ['429', 429, '', 'rate_limited'],
  ])('whose token server answers %s is named', async (_, status, body, code) => {
    expect(await ask(await realm(status, body))).toMatchObject({ code });
  });

  it('whose token server is away names the token server', async () => {
    const host = `127.0.0.1:${await freePort()}`;
    const error = await ask(`http://${host}/token`);
    expect(error).toMatchObject({ code: 'refused', message: expect.stringContaining(host) as string });
  });

  // The token server has fifteen seconds of its own: others may want to wait for it.
  it('whose token server never answers keeps nobody who gives up', { timeout: 5000 }, async () => {
    const caller = new AbortController();
    const silent = await startStandIn(() => caller.abort());
    standIns.push(silent);
    const error = await ask(`${silent.url}/token`, undefined, [], caller.signal);
    expect(error).toMatchObject({ code: 'timeout', message: expect.stringContaining(silent.host) as string });
  });

  it('gets no login for another host, and names both', async () => {
    const answers = await realm(200, { token: 'abc' });
    const { host } = new URL(answers);
    const error = await ask(answers, login, ['other.example', `localhost:${host.slice(10)}`]);
    expect(error).toMatchObject({ code: 'token_server_refused', retryable: false });
    expect(error?.message).toMatch(new RegExp(`^${standIns.at(-1)?.host} wants .* to ${host}`));
    expect(standIns.at(-2)?.seen).toEqual([]);
    // What is nobody's secret may be asked anywhere.
    await ask(answers);
    expect(standIns.at(-3)?.seen).toHaveLength(1);
  });

  it('gets no password in clear over the network', async () => {
    expect(await ask('http://auth.example/token', login)).toMatchObject({ code: 'tls' });
  });

  it.each(['', 'nonsense', 'file:///etc/passwd'])('with the realm "%s" is no registry', async (nowhere) => {
    expect(await ask(nowhere, login)).toMatchObject({ code: 'protocol' });
  });

  it('gets a token that is called access_token, and sends it', async () => {
    const answers = await realm(200, { access_token: 'abc' });
    const known = [new URL(answers).host];
    expect(await ask(answers, login, known)).toMatchObject({ code: 'credentials_rejected' });
    expect(standIns.at(-1)?.seen.at(-1)?.headers.authorization).toBe('Bearer abc');
  });
});
