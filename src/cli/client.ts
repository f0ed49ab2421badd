import { readFile } from 'node:fs/promises';
import createApi from 'openapi-fetch';
import type { Config } from '../config.ts';
import { type ErrorCode, catalogue, MirrorError, type Side } from '../core/errors.ts';
import type { components, paths } from './openapi.ts';
import { type Brought, readStream } from './stream.ts';

type Schemas = components['schemas'];
export type NewMirrors = Schemas['NewMirrors'];
export type Outcome = Schemas['Outcome'];
export type OutcomeError = Schemas['OutcomeError'];
export type Plan = Schemas['Plan'];
export type ListQuery = NonNullable<paths['/v1/mirrors']['get']['parameters']['query']>;

/** Our own API, as the commands use it; its types are those of the OpenAPI document. Every method throws MirrorError. */
export interface Client {
  readonly url: string;
  /** An outcome for each image and target, in the order asked for. */
  submit(batch: NewMirrors): Promise<Outcome[]>;
  /** What that would do. */
  plan(batch: NewMirrors): Promise<Schemas['PlanOutcome'][]>;
  mirror(id: string): Promise<Schemas['Mirror']>;
  /** Live events of a mirror from its beginning, or behind one of them, until the stream ends or is cut. */
  events(id: string, after: string | undefined, signal: AbortSignal): Promise<AsyncIterable<Brought>>;
  cancel(id: string): Promise<Schemas['Mirror']>;
  retry(id: string): Promise<Schemas['MirrorAnswer']>;
  list(query: ListQuery): Promise<Schemas['MirrorList']>;
  log(id: string): Promise<string>;
  receipt(id: string): Promise<Schemas['Envelope']>;
  receiptKeys(): Promise<Schemas['ReceiptKeys']>;
  rotateReceiptKey(): Promise<Schemas['ReceiptKey']>;
  createKey(name: string, admin: boolean): Promise<Schemas['CreatedKey']>;
  listKeys(): Promise<{ keys: Schemas['Key'][] }>;
  revokeKey(id: string): Promise<Schemas['Key']>;
  health(): Promise<Schemas['Health']>;
}

/**
 * Milliseconds that a service may take to say that it is there, to answer a call, and to answer a batch: it goes on asking
 * what is down for a moment.
 */
const limits = { probe: 2000, call: 60_000, batch: 300_000 };

/**
 * Finds the service: `--url`, else DRAY_URL, else whatever listens on the configured host and port.
 * @returns undefined when none was named and none runs.
 * @throws MirrorError when the named one does not answer, or the port is somebody else's.
 */
export async function findService(
  config: Config,
  keyFile: string,
  url: string | undefined,
  signal: AbortSignal,
): Promise<Client | undefined> {
  const named = url ?? config.namedUrl;
  if (named !== undefined && !/^https?:\/\//.test(named))
    throw new MirrorError('invalid_request', `${named} is no URL of a service.`, {
      remedy: 'Write it like http://localhost:9090.',
    });
  const base = (named ?? localUrl(config)).replace(/\/+$/, '');
  const health = await fetch(`${base}/service-info`, {
    signal: AbortSignal.any([signal, AbortSignal.timeout(limits.probe)]),
  }).catch((error: unknown) => {
    signal.throwIfAborted();
    // Only a closed port says that none runs: a busy one must not make us copy beside it.
    const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
    if (named === undefined && code === 'ECONNREFUSED') return undefined;
    throw away(base, error);
  });
  if (!health) return undefined;
  const info = (await health.json().catch(() => undefined)) as { serviceInfo?: unknown } | undefined;
  // The key of this machine's service is for that one only, not for whatever a --url names.
  const own = [localUrl(config), config.url].some((each) => each?.replace(/\/+$/, '') === base);
  if (info?.serviceInfo) {
    // What was set comes before what is found; the token of Seqera Platform goes to no service that was not named.
    const asPlatform = config.apiKey === undefined && named !== undefined && config.platformToken;
    const key = config.apiKey ?? (own ? await readKey(keyFile) : undefined);
    return createClient(base, asPlatform ? platformLogin(asPlatform) : keyLogin(key), signal);
  }
  if (named === undefined) return undefined;
  throw new MirrorError('protocol', `What answers at ${base} is no Dray.`, {
    remedy: 'Check --url or DRAY_URL.',
  });
}

/** Headers that say who we are; none without a key. */
type Login = Record<string, string>;

function keyLogin(key: string | undefined): Login {
  return key === undefined ? {} : { authorization: `Bearer ${key}` };
}

/** @throws MirrorError for a workspace that is no number. */
function platformLogin({ token, endpoint, workspaceId }: NonNullable<Config['platformToken']>): Login {
  if (workspaceId !== undefined && !/^[1-9][0-9]*$/.test(workspaceId))
    throw new MirrorError(
      'invalid_request',
      `TOWER_WORKSPACE_ID is ${workspaceId}, which is no workspace id.`,
      {
        remedy: 'Set it to the number of the workspace, or unset it for your personal one.',
      },
    );
  return {
    ...keyLogin(token),
    ...(endpoint !== undefined && { 'platform-endpoint': endpoint }),
    ...(workspaceId !== undefined && { 'platform-workspace': workspaceId }),
  };
}

/** The address that a service with these settings listens on, as seen from this machine. */
function localUrl({ host, port }: Config): string {
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}

async function readKey(keyFile: string): Promise<string | undefined> {
  return (await readFile(keyFile, 'utf8').catch(() => undefined))?.trim();
}

function away(base: string, cause: unknown): MirrorError {
  return new MirrorError('refused', `No service answers at ${base}.`, {
    remedy: 'Start it with `dray serve`, or correct --url or DRAY_URL.',
    cause,
  });
}

function createClient(base: string, login: Login, stop: AbortSignal): Client {
  const api = createApi<paths>({
    baseUrl: base,
    headers: login,
    /** Whoever calls has a good answer, or a MirrorError. */
    async fetch(request) {
      const answer = await fetch(request).catch((error: unknown) => {
        stop.throwIfAborted();
        throw away(base, error);
      });
      if (answer.ok) return answer;
      throw await refusal(answer, !login['authorization']);
    },
  });
  const within = (limit = limits.call) => ({ signal: AbortSignal.any([stop, AbortSignal.timeout(limit)]) });
  const of = (id: string) => ({ ...within(), params: { path: { id } } });

  return {
    url: base,
    submit: async (body) => dataOf(await api.POST('/v1/mirrors', { ...within(limits.batch), body })).outcomes,
    plan: async (body) => dataOf(await api.POST('/v1/plan', { ...within(limits.batch), body })).plans,
    mirror: async (id) => dataOf(await api.GET('/v1/mirrors/{id}', of(id))),
    events: (id, after, signal) =>
      readStream(
        async (cut) => {
          const header = after === undefined ? {} : { 'last-event-id': after };
          const options = { params: { path: { id }, header }, parseAs: 'stream', signal: cut } as const;
          return (await api.GET('/v1/mirrors/{id}/events', options)).response;
        },
        AbortSignal.any([stop, signal]),
        limits.call,
      ),
    cancel: async (id) => dataOf(await api.POST('/v1/mirrors/{id}/cancel', of(id))),
    retry: async (id) => dataOf(await api.POST('/v1/mirrors/{id}/retry', of(id))),
    list: async (query) => dataOf(await api.GET('/v1/mirrors', { ...within(), params: { query } })),
    log: async (id) => dataOf(await api.GET('/v1alpha1/mirrors/{id}/logs', { ...of(id), parseAs: 'text' })),
    receipt: async (id) => dataOf(await api.GET('/v1/mirrors/{id}/receipt', of(id))),
    receiptKeys: async () => dataOf(await api.GET('/.well-known/dray-receipt-keys.json', within())),
    rotateReceiptKey: async () => dataOf(await api.POST('/v1/receipt-keys', within())),
    createKey: async (name, admin) =>
      dataOf(await api.POST('/v1/keys', { ...within(), body: { name, admin } })),
    listKeys: async () => dataOf(await api.GET('/v1/keys', within())),
    revokeKey: async (id) => dataOf(await api.DELETE('/v1/keys/{id}', of(id))),
    health: async () => dataOf(await api.GET('/health', within())),
  };
}

/** An answer that is not good was thrown by `fetch` already. */
function dataOf<T>({ data }: { data?: T }): NonNullable<T> {
  return data as NonNullable<T>;
}

/** The service's own error, as if it had happened here. */
async function refusal(answer: Response, withoutKey: boolean): Promise<MirrorError> {
  const body = (await answer.json().catch(() => ({}))) as {
    message?: string;
    code?: string;
    side?: Side;
    remedy?: string;
  };
  const untold =
    answer.status === 401 ? 'The key is not accepted.' : `The service answered ${answer.status}.`;
  const { code, side, remedy, message = untold } = body;
  const said = remedy ? message.replace(` ${remedy}`, '') : message;
  if (answer.status === 401)
    return new MirrorError('unauthenticated', withoutKey ? 'The service wants a key.' : said, {
      remedy:
        'Set DRAY_API_KEY to a key, or TOWER_ACCESS_TOKEN to a token of the Seqera Platform that the service works with (with DRAY_URL: it is sent to no service that is not named), or run this where the service was started: its first key is in .dray/api-key there.',
    });
  const wait = answer.headers.get('retry-after');
  // Not our own words: what stands before a service that stops or starts, or Fastify while it closes.
  const away = answer.status >= 502 && answer.status <= 504;
  return new MirrorError(codeOf(code) ?? (away ? 'refused' : 'internal'), said, {
    ...(side && { side }),
    ...(remedy !== undefined && { remedy }),
    ...(wait !== null && { retryAfter: Number(wait) }),
    retryable: away || answer.status === 429,
  });
}

/** What the service says of one of many, as if it had happened here. */
export function toError(error: OutcomeError): MirrorError {
  const { code, message, side, remedy, retryable, retryAfter } = error;
  return new MirrorError(codeOf(code) ?? 'internal', message, {
    ...(side && { side }),
    ...{ remedy, retryable },
    ...(retryAfter !== undefined && { retryAfter }),
  });
}

/** Undefined for a code of a newer service. */
function codeOf(code: string | undefined): ErrorCode | undefined {
  return code !== undefined && Object.hasOwn(catalogue, code) ? (code as ErrorCode) : undefined;
}
