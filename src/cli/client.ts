import { readFile } from 'node:fs/promises';
import type { Config } from '../config.ts';
import { type ErrorCode, catalogue, MirrorError, type Side } from '../core/errors.ts';
import type { Health } from '../wire/health.ts';
import type { CreatedKey, KeyView } from '../wire/key.ts';
import type { EnvelopeView, ReceiptKeysView, ReceiptKeyView } from '../wire/receipt.ts';
import { type Brought, readStream } from './stream.ts';
import type { MirrorAnswer, MirrorList, MirrorView } from '../wire/mirror.ts';

/** Our own API, as the commands use it. Every method throws MirrorError. */
export interface Client {
  readonly url: string;
  submit(image: string, to: string, dryRun: boolean): Promise<MirrorAnswer>;
  mirror(id: string): Promise<MirrorView>;
  /** Live events of a mirror from its beginning, or behind one of them, until the stream ends or is cut. */
  events(id: string, after: string | undefined, signal: AbortSignal): Promise<AsyncIterable<Brought>>;
  cancel(id: string): Promise<MirrorView>;
  retry(id: string): Promise<MirrorAnswer>;
  list(query: { limit: string; before?: string; state?: string }): Promise<MirrorList>;
  log(id: string): Promise<string>;
  receipt(id: string): Promise<EnvelopeView>;
  receiptKeys(): Promise<ReceiptKeysView>;
  rotateReceiptKey(): Promise<ReceiptKeyView>;
  createKey(name: string, admin: boolean): Promise<CreatedKey>;
  listKeys(): Promise<{ keys: KeyView[] }>;
  revokeKey(id: string): Promise<KeyView>;
  health(): Promise<Health>;
}

/** Milliseconds that a service may take to say that it is there, and to answer a call (a submit may take 30 s). */
const limits = { probe: 2000, call: 60_000 };

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
  function call(method: string, path: string, body?: unknown): Promise<Response> {
    return ask(path, {
      method,
      signal: AbortSignal.any([stop, AbortSignal.timeout(limits.call)]),
      headers: body === undefined ? {} : { 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  }

  async function ask(
    path: string,
    init: Omit<RequestInit, 'headers'> & { headers: Login },
  ): Promise<Response> {
    const headers = { ...login, ...init.headers };
    const answer = await fetch(base + path, { ...init, headers }).catch((error: unknown) => {
      stop.throwIfAborted();
      throw away(base, error);
    });
    if (answer.ok) return answer;
    throw await refusal(answer, !login['authorization']);
  }
  const json = async <T>(method: string, path: string, body?: unknown) =>
    (await (await call(method, path, body)).json()) as T;
  const id = encodeURIComponent;

  return {
    url: base,
    submit: (image, to, dryRun) => json('POST', '/v1/mirrors', { image, to, dryRun }),
    mirror: (mirror) => json('GET', `/v1/mirrors/${id(mirror)}`),
    events: (mirror, after, signal) =>
      readStream(
        (cut) =>
          ask(`/v1/mirrors/${id(mirror)}/events`, {
            signal: cut,
            headers: after === undefined ? {} : { 'last-event-id': after },
          }),
        AbortSignal.any([stop, signal]),
        limits.call,
      ),
    cancel: (mirror) => json('POST', `/v1/mirrors/${id(mirror)}/cancel`),
    retry: (mirror) => json('POST', `/v1/mirrors/${id(mirror)}/retry`),
    list: (query) => json('GET', `/v1/mirrors?${new URLSearchParams(query).toString()}`),
    log: async (mirror) => (await call('GET', `/v1alpha1/mirrors/${id(mirror)}/logs`)).text(),
    receipt: (mirror) => json('GET', `/v1/mirrors/${id(mirror)}/receipt`),
    receiptKeys: () => json('GET', '/.well-known/dray-receipt-keys.json'),
    rotateReceiptKey: () => json('POST', '/v1/receipt-keys'),
    createKey: (name, admin) => json('POST', '/v1/keys', { name, admin }),
    listKeys: () => json('GET', '/v1/keys'),
    health: () => json('GET', '/health'),
    revokeKey: (key_) => json('DELETE', `/v1/keys/${id(key_)}`),
  };
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
  const untyped = away ? 'refused' : 'internal';
  const known = code !== undefined && Object.hasOwn(catalogue, code) ? (code as ErrorCode) : untyped;
  return new MirrorError(known, said, {
    ...(side && { side }),
    ...(remedy !== undefined && { remedy }),
    ...(wait !== null && { retryAfter: Number(wait) }),
    retryable: away || answer.status === 429,
  });
}
