import type {
  FastifyReply,
  FastifyRequest,
  HookHandlerDoneFunction,
  onRequestHookHandler,
  preValidationHookHandler,
} from 'fastify';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import { hashKey } from '../core/key.ts';
import { type Buckets, type BucketsOptions, createBuckets } from '../lib/buckets.ts';
import { subnetOf } from '../lib/subnet.ts';
import type { Settings } from '../settings.ts';
import type { App } from './app.ts';
import { bearerOf } from './auth.ts';
import type { Keyring } from './keyring.ts';

/** What is counted apart from each other. */
export type Kind = 'submit' | 'read';

/** One request, as far as limits go. */
export interface Visit {
  kind: Kind;
  /** Whom its address stands for. */
  address: string;
  /** Milliseconds that its address would have to wait; 0: counted, and let in. */
  wait: number;
  /** Whose call it is, once that is known and counted; absent: an administrator's, which is not. */
  caller?: string;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Absent: the route is a read. `submit-by-body`: the key is in the body (Wave's `towerAccessToken`). */
    limit?: Kind | 'submit-by-body' | 'none';
  }
  interface FastifyRequest {
    /** Absent on routes without a limit. */
    visit: Visit | undefined;
  }
}

/** How much may be asked; each instance of the service counts for itself. */
export interface Limits {
  /** Has every route that is registered later count its calls by address, before anything else is done for them. */
  register(app: App): void;
  /** For what is no route: counts a read. */
  countRead: preValidationHookHandler;
  /**
   * Counts a call of a caller who is known by now; one of an administrator is counted nowhere.
   * @param id distinct for each caller.
   * @throws MirrorError `too_many_requests`.
   */
  admit(request: FastifyRequest, id: string, admin: boolean): void;
  /**
   * Counts another thing that an admitted call asks for, as if it were a call of its own.
   * @returns why it is over a limit; then nothing was counted.
   */
  countMore(request: FastifyRequest): MirrorError | undefined;
  /**
   * Checks a token. Calls with the same token share one check; each check that ends with `unauthenticated` is a
   * failed login of its address. When it has had too many, only what was good lately, or is a key, is checked at all.
   * @throws MirrorError `too_many_requests`, or what `check` throws.
   */
  login<T>(request: FastifyRequest, login: Login, check: () => Promise<T>): Promise<T>;
  /** For logins that are no tokens of callers: false when its address has had too many that failed. */
  mayTry(request: FastifyRequest): boolean;
  /** Such a login was refused. */
  noteRefusal(request: FastifyRequest): void;
}

export interface Login {
  /** Of the token (`hashKey`). */
  hash: string;
  /** What the check depends on beside the token: calls that differ here do not share one. */
  scope?: string;
}

/** Tokens that are remembered to have been good; the oldest go first. */
const goodLimit = 10_000;

export type LimitSettings = Settings['limits'];

/** The setting's name, what it counts, and whom for; for the message. */
interface Rule {
  buckets: Buckets;
  setting: string;
  perMinute: number;
  what: string;
}

export function createLimits(
  settings: LimitSettings,
  keyring: Keyring,
  options: BucketsOptions = {},
): Limits {
  const rule = (setting: string, what: string, perMinute: number): Rule => ({
    ...{ setting, what, perMinute },
    buckets: createBuckets(perMinute, options),
  });
  const { submit, read, failedLogins } = settings;
  const perAddress = {
    submit: rule('submit.perAddress', 'submits', submit.perAddress),
    read: rule('read.perAddress', 'calls', read.perAddress),
  };
  const perCaller = {
    submit: rule('submit.perCaller', 'submits', submit.perCaller),
    read: rule('read.perCaller', 'calls', read.perCaller),
  };
  const failures = rule('failedLogins', 'failed logins', failedLogins);
  const checks = new Map<string, Promise<unknown>>();
  const good = new Set<string>();

  function count(request: FastifyRequest, kind: Kind): Visit {
    const address = addressOf(request);
    const visit = { kind, address, wait: perAddress[kind].buckets.take(address) };
    request.visit = visit;
    return visit;
  }

  /** Over its address's limit, an administrator only may go on. */
  function judge(visit: Visit, token: string | undefined, done: HookHandlerDoneFunction): void {
    const { kind, address, wait } = visit;
    const refuse = () => done(tooMany(perAddress[kind], wait, `from ${address}`));
    if (!token) return refuse();
    keyring.find(hashKey(token)).then((key) => (key?.admin ? done() : refuse()), done);
  }

  function remember(hash: string): void {
    good.delete(hash);
    good.add(hash);
    if (good.size > goodLimit) good.delete(good.keys().next().value as string);
  }

  const countAs = (kind: Kind, tokenInBody: boolean): onRequestHookHandler =>
    function countByAddress(request, _, done) {
      const visit = count(request, kind);
      if (visit.wait === 0 || tokenInBody) done();
      else judge(visit, bearerOf(request), done);
    };
  const counters = {
    read: countAs('read', false),
    submit: countAs('submit', false),
    'submit-by-body': countAs('submit', true),
  };

  /** The body has been read, but nothing else was done for it. */
  function judgeByBody(request: FastifyRequest, _: FastifyReply, done: HookHandlerDoneFunction): void {
    const { visit, body } = request;
    if (!visit || visit.wait === 0) return done();
    const { towerAccessToken: token } = (body ?? {}) as { towerAccessToken?: unknown };
    judge(visit, typeof token === 'string' && token !== '' ? token : bearerOf(request), done);
  }

  return {
    register(app) {
      app.decorateRequest('visit', undefined);
      app.addHook('onRoute', (route) => {
        const limit = route.config?.limit ?? 'read';
        if (limit === 'none') return;
        route.onRequest = [...listOf(route.onRequest), counters[limit]];
        if (limit === 'submit-by-body') route.preValidation = [...listOf(route.preValidation), judgeByBody];
      });
    },
    countRead(request, _, done) {
      // A route that was counted may end as a 404 too.
      if (request.visit) return done();
      const visit = count(request, 'read');
      if (visit.wait === 0) done();
      else judge(visit, bearerOf(request), done);
    },
    admit({ visit }, id, admin) {
      if (!visit) return;
      const { kind, address, wait } = visit;
      if (admin) {
        if (wait === 0) perAddress[kind].buckets.giveBack(address);
        return;
      }
      // It was let in as an administrator's, and is none any more.
      if (wait > 0) throw tooMany(perAddress[kind], wait, `from ${address}`);
      const pause = perCaller[kind].buckets.take(id);
      if (pause > 0) throw tooMany(perCaller[kind], pause, 'with this access token');
      visit.caller = id;
    },
    countMore({ visit }) {
      if (visit?.caller === undefined) return undefined;
      const { kind, address, caller } = visit;
      const wait = perAddress[kind].buckets.take(address);
      if (wait > 0) return tooMany(perAddress[kind], wait, `from ${address}`);
      const pause = perCaller[kind].buckets.take(caller);
      if (pause === 0) return undefined;
      perAddress[kind].buckets.giveBack(address);
      return tooMany(perCaller[kind], pause, 'with this access token');
    },
    login<T>(request: FastifyRequest, { hash, scope = '' }: Login, check: () => Promise<T>): Promise<T> {
      const address = addressOf(request);
      const key = `${address} ${hash} ${scope}`;
      const running = checks.get(key) as Promise<T> | undefined;
      if (running) return running;
      const attempt = async () => {
        const { buckets } = failures;
        // Taken before it is known how it ends: many at once are as many as one after the other.
        const wait = buckets.take(address);
        if (wait > 0 && !good.has(hash) && !(await keyring.find(hash)))
          throw tooMany(failures, wait, `from ${address}`);
        try {
          const found = await check();
          if (wait === 0) buckets.giveBack(address);
          remember(hash);
          return found;
        } catch (error) {
          if (asMirrorError(error).code === 'unauthenticated') good.delete(hash);
          else if (wait === 0) buckets.giveBack(address);
          throw error;
        }
      };
      const promise = attempt().finally(() => checks.delete(key));
      checks.set(key, promise);
      return promise;
    },
    mayTry: (request) => failures.buckets.look(addressOf(request)) === 0,
    noteRefusal(request) {
      failures.buckets.take(addressOf(request));
    },
  };
}

/** The client's address where proxies are trusted and tell one; what they tell instead may be anything. */
function addressOf(request: FastifyRequest): string {
  return (
    request.visit?.address ??
    subnetOf(request.ip) ??
    // Some proxies add the port.
    subnetOf(request.ip.replace(/^\[?([0-9a-f:.]+)\]?:[0-9]+$/i, '$1')) ??
    subnetOf(request.socket.remoteAddress ?? '') ??
    // The client has gone already.
    'unknown'
  );
}

function listOf<T>(hooks: T | T[] | undefined): T[] {
  return hooks === undefined ? [] : Array.isArray(hooks) ? hooks : [hooks];
}

function tooMany({ setting, perMinute, what }: Rule, wait: number, whose: string): MirrorError {
  const seconds = Math.max(1, Math.ceil(wait / 1000));
  return new MirrorError(
    'too_many_requests',
    `Too many ${what} ${whose}: Dray's own limit is ${perMinute} a minute.`,
    {
      retryAfter: seconds,
      remedy: `Come back in ${seconds} s, or have an administrator raise \`limits.${setting}\` in dray.yaml.`,
    },
  );
}
