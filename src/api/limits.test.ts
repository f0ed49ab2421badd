import fastify from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MirrorError } from '../core/errors.ts';
import { hashKey } from '../core/key.ts';
import type { App } from './app.ts';
import { handleError } from './errors.ts';
import { createKeyring } from './keyring.ts';
import { createLimits, type Limits, type LimitSettings } from './limits.ts';

const none = { perCaller: 0, perAddress: 0 };
const unlimited: LimitSettings = { submit: none, read: none, failedLogins: 0 };
const admins = new Map([['boss', true]]);
const users = new Map([
  ['ann', false],
  ['bob', false],
]);

let now: number;
let app: App;
let limits: Limits;
/** How often a token was really checked, and the list of keys read. */
let checks: number;
let lists: number;
beforeEach(() => {
  [now, checks, lists] = [0, 0, 0];
});
afterEach(() => app.close());

/** A service with the keys of `boss`, `ann` and `bob`, which also lets in `pat`, whose token is no key. */
async function start(settings: Partial<LimitSettings>, trustProxy: string[] | false = false): Promise<void> {
  const keys = [...admins, ...users].map(([token, admin]) => ({ hash: hashKey(token), admin }));
  const keyring = createKeyring(async () => {
    lists++;
    return keys;
  }, undefined);
  limits = createLimits({ ...unlimited, ...settings }, keyring, { now: () => now });
  app = fastify({ trustProxy }).withTypeProvider<ZodTypeProvider>();
  app.setErrorHandler(handleError);
  app.setNotFoundHandler({ preValidation: limits.countRead }, () => {
    throw new MirrorError('unknown_id', 'There is no such thing.');
  });
  limits.register(app);
  const enter = async (request: Parameters<Limits['login']>[0], token: string) => {
    const admin = await limits.login(request, { hash: hashKey(token) }, async () => {
      checks++;
      const found = token === 'pat' ? false : (admins.get(token) ?? users.get(token));
      if (found !== undefined) return found;
      throw new MirrorError('unauthenticated', 'Who is that?');
    });
    limits.admit(request, token, admin);
    const { more = '0' } = request.query as { more?: string };
    const refused = Array.from({ length: Number(more) }, () => limits.countMore(request));
    return { ok: true, refused: refused.map((error) => error?.message) };
  };
  app.post('/submit', { config: { limit: 'submit-by-body' } }, (request) =>
    enter(request, (request.body as { towerAccessToken: string }).towerAccessToken),
  );
  app.get('/read', (request) => enter(request, request.headers.authorization?.slice(7) ?? ''));
  app.get('/open', () => ({ ok: true }));
  app.get('/health', { config: { limit: 'none' } }, () => ({ ok: true }));
  await app.ready();
}

interface Call {
  from?: string;
  as?: string;
  forwarded?: string;
}

async function call(method: 'GET' | 'POST', url: string, { from = '192.0.2.1', as, forwarded }: Call = {}) {
  const answer = await app.inject({
    ...{ method, url, remoteAddress: from },
    headers: {
      ...(as !== undefined && { authorization: `Bearer ${as}` }),
      ...(forwarded !== undefined && { 'x-forwarded-for': forwarded }),
    },
    ...(method === 'POST' && { payload: { towerAccessToken: as } }),
  });
  return answer;
}
const submit = async (options?: Call) => (await call('POST', '/submit', options)).statusCode;
const read = async (options?: Call) => (await call('GET', '/read', options)).statusCode;
const open = async (options?: Call) => (await call('GET', '/open', options)).statusCode;

describe('the limit of a caller', () => {
  it('holds wherever the caller is, for submits and reads apart, and for nobody else', async () => {
    await start({ submit: { perCaller: 2, perAddress: 0 }, read: { perCaller: 1, perAddress: 0 } });
    expect(await submit({ as: 'ann' })).toBe(200);
    expect(await submit({ as: 'ann', from: '192.0.2.2' })).toBe(200);
    expect(await submit({ as: 'ann', from: '192.0.2.3' })).toBe(429);
    expect(await submit({ as: 'bob' })).toBe(200);
    expect(await read({ as: 'ann' })).toBe(200);
    expect(await read({ as: 'ann' })).toBe(429);
    expect(await open()).toBe(200);
  });

  it('says which it is, whose, and when to come back: then it is over', async () => {
    await start({ submit: { perCaller: 8, perAddress: 0 } });
    for (let n = 0; n < 8; n++) await submit({ as: 'ann' });
    now += 100;
    const answer = await call('POST', '/submit', { as: 'ann' });
    expect(answer.statusCode).toBe(429);
    expect(answer.headers['retry-after']).toBe('8');
    expect(answer.json()).toEqual({
      code: 'too_many_requests',
      message:
        "Too many submits with this access token: Dray's own limit is 8 a minute. " +
        'Come back in 8 s, or have an administrator raise `limits.submit.perCaller` in dray.yaml.',
      remedy: 'Come back in 8 s, or have an administrator raise `limits.submit.perCaller` in dray.yaml.',
    });
    now += 8000;
    expect(await submit({ as: 'ann' })).toBe(200);
    expect(await submit({ as: 'ann' })).toBe(429);
  });
});

describe('the limit of an address', () => {
  it('stops a flood before anything is done for it', async () => {
    await start({ submit: { perCaller: 0, perAddress: 3 } });
    for (let n = 0; n < 3; n++) expect(await submit({ as: `invented-${n}` })).toBe(401);
    expect(checks).toBe(3);
    for (let n = 0; n < 100; n++) expect(await submit({ as: `invented-${n}` })).toBe(429);
    expect(checks).toBe(3);
    expect(lists).toBe(1);
    const { headers, body } = await call('POST', '/submit', { as: 'ann' });
    expect(headers['retry-after']).toBe('20');
    expect(body).toContain("Too many submits from 192.0.2.1: Dray's own limit is 3 a minute");
    expect(await submit({ as: 'ann', from: '192.0.2.2' })).toBe(200);
    now += 20_000;
    expect(await submit({ as: 'ann' })).toBe(200);
  });

  it('counts open routes and what is nowhere, but no health checks', async () => {
    await start({ read: { perCaller: 0, perAddress: 2 } });
    expect(await open()).toBe(200);
    expect((await call('GET', '/nowhere')).statusCode).toBe(404);
    expect((await call('GET', '/nowhere')).statusCode).toBe(429);
    expect((await call('POST', '/nowhere', { as: 'boss' })).statusCode).toBe(404);
    expect(await open()).toBe(429);
    for (let n = 0; n < 5; n++) expect((await call('GET', '/health')).statusCode).toBe(200);
  });

  it('is one for an IPv6 network of /64, and for both ways to write an IPv4 address', async () => {
    await start({ read: { perCaller: 0, perAddress: 1 } });
    expect(await open({ from: '2001:db8:1:2::1' })).toBe(200);
    expect(await open({ from: '2001:db8:1:2:ffff::2' })).toBe(429);
    expect(await open({ from: '2001:db8:1:3::1' })).toBe(200);
    expect(await open({ from: '192.0.2.9' })).toBe(200);
    expect(await open({ from: '::ffff:192.0.2.9' })).toBe(429);
  });
});

describe('a call that asks for several things', () => {
  const ask = async (more: number, options: Call) => {
    const answer = await call('POST', `/submit?more=${more}`, options);
    const { refused } = answer.json<{ refused?: (string | null)[] }>();
    return { status: answer.statusCode, let: refused?.filter((message) => message === null).length, refused };
  };

  it('counts as so many calls, and is told which of them are too many', async () => {
    await start({ submit: { perCaller: 5, perAddress: 0 } });
    expect(await ask(2, { as: 'ann' })).toMatchObject({ status: 200, let: 2 });
    const { refused } = await ask(3, { as: 'ann' });
    expect(refused).toEqual([
      null,
      ...Array<unknown>(2).fill(expect.stringContaining('Too many submits with this access token')),
    ]);
    expect((await ask(0, { as: 'ann' })).status).toBe(429);
    expect(await ask(4, { as: 'bob' })).toMatchObject({ status: 200, let: 4 });
  });

  it('takes from its address nothing that its caller may not have, and nothing for an administrator', async () => {
    await start({ submit: { perCaller: 2, perAddress: 6 } });
    expect(await ask(50, { as: 'boss' })).toMatchObject({ status: 200, let: 50 });
    expect(await ask(9, { as: 'ann' })).toMatchObject({ status: 200, let: 1 });
    expect(await ask(1, { as: 'bob' })).toMatchObject({ status: 200, let: 1 });
    expect(await ask(1, { as: 'pat' })).toMatchObject({ status: 200, let: 1 });
    const { status } = await ask(0, { as: 'pat' });
    expect(status).toBe(429);
  });
});

describe('an administrator', () => {
  it('is never refused, not even where the address is over every limit, and costs it nothing', async () => {
    const one = { perCaller: 1, perAddress: 1 };
    await start({ submit: one, read: one, failedLogins: 1 });
    for (let n = 0; n < 10; n++) {
      expect(await submit({ as: 'boss' })).toBe(200);
      expect(await read({ as: 'boss' })).toBe(200);
    }
    expect(await submit({ as: 'ann' })).toBe(200);
    expect(await read({ as: 'nobody' })).toBe(401);
    expect(await submit({ as: 'ann' })).toBe(429);
    expect(await read({ as: 'nobody' })).toBe(429);
    for (let n = 0; n < 10; n++) {
      expect(await submit({ as: 'boss' })).toBe(200);
      expect(await read({ as: 'boss' })).toBe(200);
      expect(await open({ as: 'boss' })).toBe(200);
    }
  });

  it('who is none any more is refused like others', async () => {
    await start({ read: { perCaller: 0, perAddress: 1 } });
    await open();
    const visit = { kind: 'read', address: '192.0.2.1', wait: 60_000 } as const;
    expect(() => limits.admit({ visit } as never, 'boss', false)).toThrow(/Too many calls from 192.0.2.1/);
  });
});

describe('the address of a client', () => {
  const once = { read: { perCaller: 0, perAddress: 1 } };

  it('is never taken from a header where no proxy is trusted', async () => {
    await start(once);
    expect(await open({ forwarded: '198.51.100.1' })).toBe(200);
    expect(await open({ forwarded: '198.51.100.2' })).toBe(429);
  });

  it('is the right-most one in the header that is no trusted proxy', async () => {
    await start(once, ['10.0.0.0/8', '2001:db8::/32']);
    const from = '10.0.0.1';
    expect(await open({ from, forwarded: '203.0.113.1, 198.51.100.1, 10.0.0.2' })).toBe(200);
    // What a client writes in front of it changes nothing, nor by which proxies it comes.
    expect(await open({ from: '::ffff:10.9.9.9', forwarded: '203.0.113.2, 198.51.100.1' })).toBe(429);
    expect(await open({ from: '2001:db8::7', forwarded: '198.51.100.1:4711' })).toBe(429);
    expect(await open({ from, forwarded: '198.51.100.2' })).toBe(200);
    // Not by this proxy: it is a client that writes headers.
    expect(await open({ from: '192.0.2.1', forwarded: '198.51.100.3' })).toBe(200);
    expect(await open({ from: '192.0.2.1', forwarded: '198.51.100.4' })).toBe(429);
  });

  it("is the proxy's own where what it tells is none", async () => {
    await start(once, ['10.0.0.1']);
    expect(await open({ from: '10.0.0.1', forwarded: 'unknown' })).toBe(200);
    expect(await open({ from: '10.0.0.1', forwarded: 'x'.repeat(5000) })).toBe(429);
    expect(await open({ from: '10.0.0.1' })).toBe(429);
  });
});

describe('failed logins', () => {
  it('end the checks of unknown tokens from their address, and of no good ones', async () => {
    await start({ failedLogins: 2 });
    expect(await read({ as: 'pat', from: '192.0.2.2' })).toBe(200);
    expect(await submit({ as: 'x' })).toBe(401);
    expect(await read({ as: 'y' })).toBe(401);
    expect(checks).toBe(3);
    const answer = await call('GET', '/read', { as: 'z' });
    expect(answer.statusCode).toBe(429);
    expect(answer.headers['retry-after']).toBe('30');
    expect(answer.body).toContain("Too many failed logins from 192.0.2.1: Dray's own limit is 2 a minute");
    expect(checks).toBe(3);
    expect(await read({ as: 'ann' })).toBe(200);
    expect(await read({ as: 'pat' })).toBe(200);
    expect(await read({ as: 'x', from: '192.0.2.2' })).toBe(401);
    now += 30_000;
    expect(await read({ as: 'z' })).toBe(401);
    expect(await read({ as: 'z' })).toBe(429);
  });

  it('are no good logins, no open routes, and no checks that could not be made', async () => {
    await start({ failedLogins: 1 });
    for (let n = 0; n < 5; n++) {
      expect(await read({ as: 'ann' })).toBe(200);
      expect(await open({ as: 'anything' })).toBe(200);
      const request = { visit: { address: '192.0.2.1' } } as never;
      const away = new MirrorError('database_unavailable', 'The database is away.');
      const check = () => Promise.reject(away);
      await expect(limits.login(request, { hash: 'h' }, check)).rejects.toBe(away);
    }
    expect(await read({ as: 'x' })).toBe(401);
    expect(await read({ as: 'x' })).toBe(429);
  });

  it('are bounded also when they come all at once', async () => {
    await start({ failedLogins: 5 });
    const all = await Promise.all(Array.from({ length: 50 }, (_, n) => read({ as: `invented-${n}` })));
    expect(all.filter((status) => status === 401)).toHaveLength(5);
    expect(checks).toBe(5);
  });

  it('share one check where the same token comes many times at once: a cold start of a pipeline is no attack', async () => {
    await start({ failedLogins: 5 });
    const request = { visit: { address: '192.0.2.1' } } as never;
    const platform = Promise.withResolvers<string>();
    const check = () => platform.promise;
    const logins = Array.from({ length: 100 }, () => limits.login(request, { hash: 'h' }, check));
    platform.resolve('a user');
    expect(new Set(await Promise.all(logins))).toEqual(new Set(['a user']));
    const other = limits.login(request, { hash: 'h', scope: 'w2' }, async () => 'another');
    expect(await other).toBe('another');
    expect(await read({ as: 'x' })).toBe(401);
  });

  it('include those that are no tokens of callers', async () => {
    await start({ failedLogins: 2 });
    const request = { visit: { address: '192.0.2.1' } } as never;
    for (let n = 0; n < 2; n++) {
      expect(limits.mayTry(request)).toBe(true);
      limits.noteRefusal(request);
    }
    expect(limits.mayTry(request)).toBe(false);
    expect(await read({ as: 'x' })).toBe(429);
  });
});
