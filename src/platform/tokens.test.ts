import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { MirrorError } from '../core/errors.ts';
import type { Grant } from '../core/grant.ts';
import type { TokenStore } from '../db/platform-tokens.ts';
import { createSealer } from '../lib/seal.ts';
import { createTokens, readTokens } from './tokens.ts';

const endpoint = 'https://seqera.example.com/api';
const grant: Grant = { endpoint, accessToken: 'access1', refreshToken: 'refresh+1' };
const key = randomBytes(32);

describe('tokens', () => {
  let rows: Map<string, { sealed: string; at: Date }>;
  const errors: unknown[] = [];
  const store: TokenStore = {
    get: async (id) => rows.get(id)?.sealed,
    put: async (id, sealed, at) => void rows.set(id, { sealed, at }),
    list: async () => [...rows].map(([id, { sealed }]) => ({ id, sealed })),
    reseal: async (id, old, sealed) => {
      const row = rows.get(id);
      if (row?.sealed === old) rows.set(id, { ...row, sealed });
    },
    sweep: async (before) => {
      for (const [id, { at }] of rows) if (at < before) rows.delete(id);
    },
  };
  /** Bodies of the refreshes that were asked for. */
  let asked: string[];
  let answer: (
    body: string,
  ) => { status?: number; cookies?: string[] } | Promise<{ status?: number; cookies?: string[] }>;
  const create = (over: Partial<Parameters<typeof createTokens>[0]> = {}) =>
    createTokens({
      channel: {
        async request(which, { method, uri, auth, headers, body = '' }) {
          expect([which, method, uri, auth]).toEqual([
            endpoint,
            'POST',
            `${endpoint}/oauth/access_token`,
            null,
          ]);
          expect(headers).toEqual({ 'Content-Type': ['application/x-www-form-urlencoded'] });
          asked.push(body);
          const { status = 200, cookies = [] } = await answer(body);
          return { status, headers: new Map([['set-cookie', cookies]]), body: '', pairingId: 'p' };
        },
      },
      store,
      sealer: createSealer([key]),
      onError: (error) => errors.push(error),
      ...over,
    });
  beforeEach(() => {
    rows = new Map();
    asked = [];
    errors.length = 0;
    answer = () => ({ cookies: ['JWT=access2; Path=/; HttpOnly', 'JWT_REFRESH_TOKEN=refresh2; Secure'] });
  });

  it('refreshes once for all who ask at once, and for those who come late', async () => {
    const tokens = create();
    expect(await tokens.present(grant)).toBe('access1');
    const renewed = await Promise.all(Array.from({ length: 20 }, () => tokens.renew(grant, 'access1')));
    expect(new Set(renewed)).toEqual(new Set(['access2']));
    expect(await tokens.renew(grant, 'access1')).toBe('access2');
    expect(await tokens.present(grant)).toBe('access2');
    expect(asked).toEqual(['grant_type=refresh_token&refresh_token=refresh%2B1']);
  });

  it('goes on from what it got last, and keeps a refresh token that does not change', async () => {
    const tokens = create();
    await tokens.renew(grant, 'access1');
    answer = () => ({ cookies: ['JWT=access3'] });
    expect(await tokens.renew(grant, 'access2')).toBe('access3');
    answer = () => ({ cookies: ['JWT=access4'] });
    expect(await tokens.renew(grant, 'access3')).toBe('access4');
    expect(asked.map((body) => new URLSearchParams(body).get('refresh_token'))).toEqual([
      'refresh+1',
      'refresh2',
      'refresh2',
    ]);
  });

  it('shares what it got with other processes, which ask for nothing themselves', async () => {
    await create().renew(grant, 'access1');
    const another = create();
    expect(await another.present(grant)).toBe('access2');
    const stale = create();
    expect(await stale.renew(grant, 'access1')).toBe('access2');
    expect(asked.length).toBe(1);
  });

  it('takes what the other process got when it loses the race', async () => {
    const winner = create();
    const loser = create();
    let count = 0;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    // Refresh tokens are good once: the second to come is refused, before the first has its answer.
    answer = async () => {
      if (count++ > 0) {
        resolve(undefined);
        return { status: 401 };
      }
      await promise;
      return { cookies: ['JWT=access2', 'JWT_REFRESH_TOKEN=refresh2'] };
    };
    const both = await Promise.all([winner.renew(grant, 'access1'), loser.renew(grant, 'access1')]);
    expect([both, asked.length]).toEqual([['access2', 'access2'], 2]);
  });

  it('gives nothing to who comes with the access token alone, or with another refresh token', async () => {
    const tokens = create();
    await tokens.renew(grant, 'access1');
    const found: Grant = { endpoint, accessToken: grant.accessToken };
    expect(await tokens.present(found)).toBe('access1');
    expect(await tokens.renew(found, 'access1')).toBeUndefined();
    expect(await tokens.present({ ...grant, refreshToken: 'guess' })).toBe('access1');
    expect(asked.length).toBe(1);
  });

  it.each([
    ['401', { status: 401 }],
    ['400', { status: 400 }],
    ['no cookies', {}],
    ['another cookie', { cookies: ['JSESSIONID=a'] }],
  ])('has nothing better when the refresh is answered with %s, and does not insist', async (_, given) => {
    answer = () => given;
    const tokens = create();
    expect(await tokens.renew(grant, 'access1')).toBeUndefined();
    expect(await tokens.renew(grant, 'access1')).toBeUndefined();
    expect([asked.length, rows.size]).toEqual([1, 0]);
  });

  it('says that a failure passes, and tries again', async () => {
    const tokens = create();
    answer = () => ({ status: 503 });
    await expect(tokens.renew(grant, 'access1')).rejects.toMatchObject({
      code: 'platform_unavailable',
      retryable: true,
    });
    answer = () => ({ cookies: ['JWT=access2'] });
    expect(await tokens.renew(grant, 'access1')).toBe('access2');
  });

  it('writes neither a token in clear nor one into a name', async () => {
    await create().renew(grant, 'access1');
    expect(rows.size).toBe(1);
    expect(JSON.stringify([...rows])).not.toMatch(/access|refresh/);
  });

  it('goes on without the database', async () => {
    const away = () => Promise.reject(new MirrorError('database_unavailable', 'x'));
    const noReads = create({ store: { ...store, get: away } });
    expect(await noReads.present(grant)).toBe('access1');
    await expect(noReads.renew(grant, 'access1')).rejects.toMatchObject({ code: 'database_unavailable' });
    expect(await create({ store: { ...store, put: away } }).renew(grant, 'access1')).toBe('access2');
    expect(errors).toMatchObject([{ code: 'database_unavailable' }]);
  });

  it('seals anew, does without what it can not open, and forgets what is a month old', async () => {
    await create().renew(grant, 'access1');
    const fresh = randomBytes(32);
    await create({ sealer: createSealer([fresh, key]) }).reseal();
    expect(await create({ sealer: createSealer([fresh]) }).present(grant)).toBe('access2');
    const lost = create();
    await lost.reseal();
    expect(await lost.present(grant)).toBe('access1');
    const now = vi.fn(() => Date.now() + 31 * 24 * 3600_000);
    await create({ now }).reseal();
    expect(rows.size).toBe(0);
  });
});

describe('cookies of a refresh', () => {
  it.each<[string[], unknown]>([
    [['JWT=a'], { accessToken: 'a', refreshToken: 'old' }],
    [['JWT="a.b-c"; Max-Age=3600'], { accessToken: 'a.b-c', refreshToken: 'old' }],
    [['JWT=a=='], { accessToken: 'a==', refreshToken: 'old' }],
    [['JWT_REFRESH_TOKEN=r;Path=/oauth', ' JWT = a ; Secure'], { accessToken: 'a', refreshToken: 'r' }],
    [['JWT=a', 'JWT_REFRESH_TOKEN=; Max-Age=0'], { accessToken: 'a', refreshToken: 'old' }],
    [['JWT=a', 'JWT=b'], { accessToken: 'b', refreshToken: 'old' }],
    [['JWT=a', 'JWT=; Max-Age=0'], { accessToken: 'a', refreshToken: 'old' }],
    [['jwt=a'], undefined],
    [['X=y; JWT=a'], undefined],
    [['JWT=a b'], undefined],
    [['JWT=a\r\nX: y'], undefined],
    [[`JWT=${'a'.repeat(20_000)}`], undefined],
    [[''], undefined],
    [[], undefined],
  ])('%j', (cookies, tokens) => {
    expect(readTokens(cookies, 'old')).toEqual(tokens);
  });

  it('never give a token that is no header, whatever they are', () => {
    const cookie = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: 'binary' }).map((value) => `JWT=${value}`),
      fc.string({ unit: 'binary' }).map((value) => `JWT_REFRESH_TOKEN=${value}; Path=/`),
    );
    fc.assert(
      fc.property(fc.array(cookie, { maxLength: 4 }), (cookies) => {
        const tokens = readTokens(cookies, 'old');
        if (!tokens) return;
        expect(Object.keys(tokens)).toEqual(['accessToken', 'refreshToken']);
        for (const token of Object.values(tokens)) expect(token).toMatch(/^[\x21-\x7e]{1,16384}$/);
      }),
    );
  });
});
