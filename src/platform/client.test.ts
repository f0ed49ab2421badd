import { constants, createCipheriv, generateKeyPairSync, publicEncrypt, randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { MirrorError } from '../core/errors.ts';
import type { Grant } from '../core/grant.ts';
import type { Channel } from './channel.ts';
import { createPlatform, type Platform } from './client.ts';
import type { ProxyRequest } from './frames.ts';

const endpoint = 'https://seqera.example.com/api';
const grant: Grant = { endpoint, accessToken: 'secret-access' };
const signal = new AbortController().signal;
const pair = generateKeyPairSync('rsa', { modulusLength: 2048 });

function seal(value: unknown): string {
  const key = randomBytes(16);
  const cipher = createCipheriv('aes-128-ecb', key, null);
  const data = Buffer.concat([cipher.update(JSON.stringify(value)), cipher.final()]);
  const sealedKey = publicEncrypt({ key: pair.publicKey, padding: constants.RSA_PKCS1_PADDING }, key);
  return ['1', 'P', sealedKey.toString('base64'), data.toString('base64')].join('\\');
}

interface Answer {
  status?: number;
  headers?: [string, string[]][];
  body?: unknown;
}

describe('the client of Seqera Platform', () => {
  /** What was asked, as `GET /path (token)`. */
  let asked: string[];
  let answer: (request: ProxyRequest) => Answer | Promise<Answer>;
  let fresh: string | undefined;
  let platform: Platform;
  const start = () =>
    createPlatform({
      channel: {
        check(which) {
          if (which !== endpoint) throw new MirrorError('unpaired_endpoint', `${which} is not paired.`);
        },
        excuse: () => new MirrorError('platform_unavailable', 'It takes too long.'),
        async request(which, { uri, ...more }) {
          expect(which).toBe(endpoint);
          const request = { ...more, uri: typeof uri === 'string' ? uri : uri('pair1') };
          asked.push(`${more.method} ${request.uri.replace(endpoint, '')} (${more.auth})`);
          const { status = 200, headers = [], body } = await answer(request);
          const text = typeof body === 'string' ? body : JSON.stringify(body ?? {});
          return { status, headers: new Map(headers), body: text, pairingId: 'pair1' };
        },
      } satisfies Pick<Channel, 'check' | 'excuse' | 'request'>,
      pairings: { privateKey: async (id) => (id === 'pair1' ? pair.privateKey : undefined) },
      tokens: {
        present: async ({ accessToken }) => accessToken,
        renew: async () => fresh,
      },
    });
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['performance'] });
    asked = [];
    fresh = undefined;
    answer = () => ({});
    platform = start();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const user = (id: number) => ({ body: { user: { id, userName: 'u', email: 'e' }, more: 1 } });
  /** The error of a call, which must hold no secret. */
  async function errorOf(work: Promise<unknown>): Promise<MirrorError> {
    const error: unknown = await work.then(
      () => undefined,
      (caught: unknown) => caught,
    );
    if (!(error instanceof MirrorError)) throw new Error(`It is ${String(error)}`);
    expect(JSON.stringify([error.toFailure(), String(error.cause)])).not.toMatch(/secret/);
    return error;
  }

  describe('asked who the caller is', () => {
    it('asks once for many callers, and again after a day', async () => {
      answer = () => user(7);
      const many = await Promise.all(Array.from({ length: 20 }, () => platform.userId(grant, signal)));
      expect(new Set(many)).toEqual(new Set([7]));
      vi.advanceTimersByTime(24 * 3600_000 - 1);
      await platform.userId({ ...grant, workspaceId: 5 }, signal);
      expect(asked).toEqual(['GET /user-info (Bearer secret-access)']);
      vi.advanceTimersByTime(1);
      answer = () => user(8);
      expect(await platform.userId(grant, signal)).toBe(8);
    });

    it('tells tokens apart', async () => {
      answer = ({ auth }) => user(auth === 'Bearer secret-access' ? 1 : 2);
      const others = { ...grant, accessToken: 'secret-other' };
      expect([await platform.userId(grant, signal), await platform.userId(others, signal)]).toEqual([1, 2]);
    });

    it.each([401, 403])('refuses a token that gets %s, and asks again after ten seconds', async (status) => {
      answer = () => ({ status });
      expect((await errorOf(platform.userId(grant, signal))).code).toBe('unauthenticated');
      vi.advanceTimersByTime(9_999);
      const error = await errorOf(platform.userId(grant, signal));
      expect(error).toMatchObject({
        code: 'unauthenticated',
        message: expect.stringContaining(endpoint) as string,
      });
      expect(asked.length).toBe(1);
      vi.advanceTimersByTime(1);
      answer = () => user(3);
      expect(await platform.userId(grant, signal)).toBe(3);
    });

    it('goes on with a fresh token, once', async () => {
      fresh = 'secret-fresh';
      answer = ({ auth }) => (auth === 'Bearer secret-fresh' ? user(4) : { status: 401 });
      expect(await platform.userId(grant, signal)).toBe(4);
      answer = () => ({ status: 401 });
      platform = start();
      expect((await errorOf(platform.userId(grant, signal))).code).toBe('unauthenticated');
      expect(asked.length).toBe(4);
    });

    it.each([500, 502, 503, 408, 429])('says of %s that it passes, and keeps none of it', async (status) => {
      answer = () => ({ status, headers: [['retry-after', ['3']]], body: 'secret' });
      const error = await errorOf(platform.userId(grant, signal));
      expect(error).toMatchObject({ code: 'platform_unavailable', retryable: true, retryAfter: 3 });
      answer = () => user(5);
      expect(await platform.userId(grant, signal)).toBe(5);
    });

    it.each([400, 404, 302])('says of %s that it does not pass', async (status) => {
      answer = () => ({ status });
      const error = await errorOf(platform.userId({ ...grant, workspaceId: 1 }, signal));
      expect(error).toMatchObject({
        code: 'platform_unavailable',
        retryable: false,
        message: `${endpoint} answered ${status} when asking who the caller is.`,
      });
    });

    it.each([
      ['<html>secret'],
      [''],
      [null],
      [[]],
      [{ user: null }],
      [{ user: { id: 'secret' } }],
      [{ user: { id: 1.5 } }],
    ])('says that %j is nonsense', async (body) => {
      answer = () => ({ body: body === null ? 'null' : body });
      const error = await errorOf(platform.userId(grant, signal));
      expect(error).toMatchObject({ code: 'platform_unavailable', retryable: true });
    });

    it('lets a caller go who waits no more, and the others have the answer', async () => {
      const { promise, resolve } = Promise.withResolvers<Answer>();
      answer = () => promise;
      const caller = new AbortController();
      const impatient = errorOf(platform.userId(grant, caller.signal));
      const patient = platform.userId(grant, signal);
      caller.abort();
      expect((await impatient).code).toBe('platform_unavailable');
      resolve(user(6));
      expect(await patient).toBe(6);
      expect(asked.length).toBe(1);
      expect((await errorOf(platform.userId(grant, AbortSignal.abort()))).code).toBe('platform_unavailable');
    });

    it.each([
      ['unpaired_endpoint', { ...grant, endpoint: 'https://evil.example.com' }],
      ['unauthenticated', { ...grant, accessToken: 'secret\r\nHost: x' }],
      ['unauthenticated', { ...grant, accessToken: '' }],
      ['unauthenticated', { ...grant, accessToken: 'secret'.repeat(4000) }],
      ['invalid_request', { ...grant, workspaceId: 1.5 }],
    ])('asks nothing with what is %s', async (code, bad) => {
      expect((await errorOf(platform.userId(bad, signal))).code).toBe(code);
      expect((await errorOf(platform.credentials(bad, signal))).code).toBe(code);
      expect((await errorOf(platform.keys(bad, 'a', signal))).code).toBe(code);
      expect(asked).toEqual([]);
    });
  });

  describe('asked for credentials', () => {
    const entry = (id: unknown, registry?: unknown, provider = 'container-reg') => ({
      id,
      provider,
      keys: { registry },
    });

    it('lists those of container registries, and skips what it can not read', async () => {
      answer = () => ({
        body: {
          credentials: [
            entry('a', ' quay.io '),
            entry('b'),
            entry('c', null),
            entry('d', ''),
            { id: 'e', provider: 'container-reg', keys: null },
            entry('f', 'x', 'aws'),
            entry('..', 'x'),
            entry(5, 'x'),
            entry('g', 5),
            null,
            entry('h', 'https://ghcr.io/acme'),
          ],
        },
      });
      expect(await platform.credentials({ ...grant, workspaceId: 12 }, signal)).toEqual([
        { id: 'a', registry: 'quay.io' },
        { id: 'b', registry: 'docker.io' },
        { id: 'c', registry: 'docker.io' },
        { id: 'd', registry: 'docker.io' },
        { id: 'e', registry: 'docker.io' },
        { id: 'h', registry: 'https://ghcr.io/acme' },
      ]);
      expect(asked).toEqual(['GET /credentials?workspaceId=12 (Bearer secret-access)']);
    });

    it('knows them for a minute, or for the whole run, apart for each token, workspace and run', async () => {
      answer = () => ({ body: { credentials: [] } });
      const grants = [
        grant,
        { ...grant, workspaceId: 1 },
        { ...grant, workflowId: 'run' },
        { ...grant, accessToken: 'secret-other' },
      ];
      const all = () => Promise.all(grants.map((each) => platform.credentials(each, signal)));
      await all();
      await all();
      expect(asked.length).toBe(4);
      vi.advanceTimersByTime(60_000);
      await all();
      expect(asked.length).toBe(7);
      vi.advanceTimersByTime(12 * 3600_000 - 60_000);
      await all();
      expect(asked.length).toBe(11);
    });

    it.each([403, 404])('names the workspace when it gets %s', async (status) => {
      answer = () => ({ status });
      const error = await errorOf(platform.credentials({ ...grant, workspaceId: 12 }, signal));
      expect(error.code).toBe('forbidden');
      expect(error.message).toBe(
        `The caller is no member of workspace 12 on ${endpoint}, or may not see its credentials.`,
      );
    });
  });

  describe('asked for what a credential holds', () => {
    const plain = { discriminator: 'container-reg', userName: 'u', password: 'secret-password' };

    it('opens it with the pair of the socket that was used, and knows it for a minute', async () => {
      answer = () => ({ body: { keys: seal(plain) } });
      const keys = { kind: 'container-reg', userName: 'u', password: 'secret-password' };
      expect(await platform.keys({ ...grant, workspaceId: 12 }, 'a/b', signal)).toEqual(keys);
      expect(asked).toEqual([
        'GET /credentials/a%2Fb/keys?pairingId=pair1&workspaceId=12 (Bearer secret-access)',
      ]);
      await platform.keys({ ...grant, workspaceId: 12 }, 'a/b', signal);
      expect(asked.length).toBe(1);
      await platform.keys({ ...grant, workspaceId: 12 }, 'c', signal);
      vi.advanceTimersByTime(60_000);
      await platform.keys({ ...grant, workspaceId: 12 }, 'c', signal);
      expect(asked.length).toBe(3);
    });

    it('names the credential that can not be read, and reads the next', async () => {
      answer = () => ({ body: { keys: '1\\P\\AAAA\\AAAA' } });
      const error = await errorOf(platform.keys(grant, 'a', signal));
      expect([error.code, error.message, error.cause]).toEqual([
        'credential_unreadable',
        `Credential a on ${endpoint} can not be read.`,
        undefined,
      ]);
      answer = () => ({ body: { keys: seal(plain) } });
      expect((await platform.keys(grant, 'b', signal)).kind).toBe('container-reg');
    });

    it('lists again after a credential turns out to be gone', async () => {
      answer = () => ({ body: { credentials: [] } });
      await platform.credentials({ ...grant, workflowId: 'run' }, signal);
      answer = () => ({ status: 404 });
      const error = await errorOf(platform.keys({ ...grant, workflowId: 'run' }, 'a', signal));
      expect(error.code).toBe('credential_unreadable');
      answer = () => ({ body: { credentials: [{ id: 'b', provider: 'container-reg' }] } });
      expect(await platform.credentials({ ...grant, workflowId: 'run' }, signal)).toHaveLength(1);
    });

    it.each(['', '.', '..', 'a b', 'a'.repeat(101)])('asks for none that is called %j', async (id) => {
      expect((await errorOf(platform.keys(grant, id, signal))).code).toBe('credential_unreadable');
      expect(asked).toEqual([]);
    });
  });

  describe('asked for the launch of a run', () => {
    const run = { ...grant, workflowId: 'run1', workspaceId: 12 };
    const launch = (computeEnv: unknown) => ({ body: { launch: { computeEnv } } });

    it('names the AWS credential of AWS Batch, and remembers it', async () => {
      answer = () => launch({ platform: 'aws-batch', credentialsId: 'cred', more: 1 });
      expect(await platform.launchCredential(run, signal)).toBe('cred');
      vi.advanceTimersByTime(12 * 3600_000 - 1);
      expect(await platform.launchCredential(run, signal)).toBe('cred');
      expect(asked).toEqual(['GET /workflow/run1/launch?workspaceId=12 (Bearer secret-access)']);
    });

    it.each<[string, Answer]>([
      ['another platform', launch({ platform: 'google-batch', credentialsId: 'cred' })],
      ['no credential', launch({ platform: 'aws-batch', credentialsId: null })],
      ['no environment', launch(null)],
      ['no launch', { body: { launch: null } }],
      ['no such run', { status: 404 }],
    ])('names none for %s', async (_, given) => {
      answer = () => given;
      expect(await platform.launchCredential(run, signal)).toBeUndefined();
    });

    it.each([undefined, '', '..', 'a b'])('asks nothing for the run %j', async (workflowId) => {
      const { endpoint, accessToken } = grant;
      const bad = { endpoint, accessToken, ...(workflowId !== undefined && { workflowId }) };
      expect(await platform.launchCredential(bad, signal)).toBeUndefined();
      expect(asked).toEqual([]);
    });
  });
});
