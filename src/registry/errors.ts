import { type ErrorCode, MirrorError } from '../core/errors.ts';
import { isFull, isImmutable, isQuota, lacksScope } from '../core/refusal.ts';
import { parseRetryAfter } from '../lib/retry-after.ts';

/** What was tried, for the sentence: "reading quay.io/a/b:1". */
export interface Doing {
  what: string;
  /** The registry's host, as the user knows it. */
  host: string;
  /** Whether a login was sent along. */
  loggedIn: boolean;
  /** A push of a manifest, where a refusal has more meanings. */
  pushes?: boolean;
}

export interface Answered {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

/** Names a status that is neither success nor a plain 404 (OCI distribution-spec, "Error Codes"). */
export function classifyAnswer(answer: Answered, doing: Doing): MirrorError {
  const { status } = answer;
  const { code, text } = firstError(answer.body);
  const said = `${doing.host} answered ${status}${text ? ` (${text})` : ''} when ${doing.what}`;
  if (status === 429 || code === 'TOOMANYREQUESTS')
    return new MirrorError(
      'rate_limited',
      `${said}: too many requests.`,
      retryAfter(answer.headers['retry-after']),
    );
  if (
    (status === 401 || status === 403) &&
    doing.loggedIn &&
    lacksScope(`${String(answer.headers['www-authenticate'])} ${text}`)
  )
    return new MirrorError('insufficient_scope', `${said}: the account or its token lacks the right.`);
  if (status === 401)
    return doing.loggedIn
      ? new MirrorError('credentials_rejected', `${said}: the login is not accepted.`)
      : new MirrorError('login_required', `${said}: it asks for a login.`);
  if (status >= 400 && isFull(answer.body))
    return new MirrorError('registry_full', `${said}: its disk is full.`);
  if (status === 507 || (status >= 400 && isQuota(text)))
    return new MirrorError('quota_exceeded', `${said}: its quota is used up.`);
  if (doing.pushes && isImmutable(text))
    return new MirrorError('immutable_tag', `${said}: the tag may not be changed.`);
  if (status === 403) return new MirrorError('denied', `${said}: the account lacks the right.`);
  if (status >= 500)
    return new MirrorError('registry_unavailable', `${said}.`, retryAfter(answer.headers['retry-after']));
  // What had arrived is gone again: the next try sends it. docker-registry calls a digest invalid when it reads what says
  // where a blob is while another upload of the same blob is writing that; ours are hashed before they are sent.
  if (doing.pushes && /^(?:(?:MANIFEST_)?BLOB_UNKNOWN|DIGEST_INVALID)$/.test(code))
    return new MirrorError('copy_failed', `${said}.`);
  if (doing.pushes && status >= 400) return new MirrorError('push_refused', `${said}.`);
  if (status === 404) return new MirrorError('manifest_unknown', `${said}.`);
  return new MirrorError('protocol', `${said}, which is no answer of a registry.`);
}

function firstError(body: string): { code: string; text: string } {
  try {
    const parsed = JSON.parse(body) as { errors?: Record<string, unknown>[] } | null;
    const error = parsed?.errors?.[0];
    // The detail is mostly an object for machines; Nexus puts its reason there.
    const parts = [error?.['code'], error?.['message'], error?.['detail']].map((part) =>
      typeof part === 'string' ? clean(part) : '',
    );
    return { code: parts[0] ?? '', text: parts.filter((part) => part !== '').join(': ') };
  } catch {
    return { code: '', text: '' };
  }
}

/** A registry's words go into our messages: one short printable line, and no query string, which may be signed. */
function clean(text: string): string {
  return text
    .replace(/\?\S*/g, '')
    .replace(/[^\x20-\x7e]+/g, ' ')
    .trim()
    .slice(0, 200);
}

function retryAfter(header: string | string[] | undefined): { retryAfter?: number } {
  const seconds = parseRetryAfter(String(header ?? ''));
  return seconds === undefined ? {} : { retryAfter: seconds };
}

const byErrno: Record<string, ErrorCode> = {
  ENOTFOUND: 'dns',
  EAI_AGAIN: 'dns',
  ECONNREFUSED: 'refused',
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  UND_ERR_SOCKET: 'reset',
  UND_ERR_PRX_CONN: 'reset',
  UND_ERR_PRX_TLS: 'tls',
  EHOSTUNREACH: 'timeout',
  ENETUNREACH: 'timeout',
  ETIMEDOUT: 'timeout',
  UND_ERR_CONNECT_TIMEOUT: 'timeout',
  UND_ERR_HEADERS_TIMEOUT: 'timeout',
  UND_ERR_BODY_TIMEOUT: 'timeout',
  ABORT_ERR: 'timeout',
  UND_ERR_ABORTED: 'timeout',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'reset',
};

/** Errors that carry no code; that of undici's parser is undefined for most of what is no HTTP. */
const byName: Record<string, string> = {
  AbortError: 'ABORT_ERR',
  TimeoutError: 'ABORT_ERR',
  HTTPParserError: 'HPE_UNKNOWN',
};

const sentences: Partial<Record<ErrorCode, string>> = {
  dns: 'has no address in the DNS',
  refused: 'refuses the connection: nothing listens there',
  reset: 'closed the connection in the middle',
  timeout: 'does not answer in time',
  tls: 'has a certificate that is not trusted, or speaks no TLS',
};

/** Names a failure below HTTP by its errno or by undici's code. */
export function classifyNetworkError(error: unknown, doing: Doing): MirrorError {
  if (error instanceof MirrorError) return error;
  const { code = '', reason } = innermost(error);
  const proxy = /^Proxy (?:response|Authentication Required) \(([0-9]{3})\)/.exec(reason)?.[1];
  if (proxy !== undefined)
    return new MirrorError('refused', `The proxy answered ${proxy} for ${doing.host}, when ${doing.what}.`, {
      cause: error,
      remedy: "Check the proxy's address and login, what it allows, and NO_PROXY.",
      retryable: Number(proxy) >= 500,
    });
  if (code === 'ADDRESS_REFUSED')
    return new MirrorError('address_refused', `${reason}, when ${doing.what}.`, { cause: error });
  const named = byErrno[code] ?? (isTls(code, reason) ? 'tls' : undefined);
  if (!named) {
    if (/^(?:HPE_|UND_ERR_)/.test(code))
      return new MirrorError('protocol', `${doing.host} does not speak HTTP as a registry does.`, {
        cause: error,
      });
    return new MirrorError('internal', `Something went wrong when ${doing.what}.`, { cause: error });
  }
  const detail = named === 'tls' && reason ? ` (${clean(reason)})` : '';
  return new MirrorError(named, `${doing.host} ${sentences[named] ?? ''}${detail}, when ${doing.what}.`, {
    cause: error,
    // The resolver itself is away: that passes, a wrong name does not.
    ...(code === 'EAI_AGAIN' && { retryable: true }),
  });
}

function innermost(error: unknown): { code?: string; reason: string } {
  let current = error as {
    code?: unknown;
    cause?: unknown;
    errors?: unknown[];
    message?: string;
    name?: string;
  };
  // Happy Eyeballs wraps one error for each address; they rarely differ.
  for (let depth = 0; depth < 5; depth++) {
    const next = (current.errors?.[0] ?? current.cause) as typeof current | undefined;
    if (typeof current.code === 'string' && current.code !== 'UND_ERR_SOCKET') break;
    if (typeof next !== 'object') break;
    current = next;
  }
  const code = typeof current.code === 'string' ? current.code : byName[current.name ?? ''];
  return { ...(code !== undefined && { code }), reason: current.message ?? '' };
}

/** OpenSSL and Node have dozens of codes; all say that no trusted TLS session came about. */
function isTls(code: string, reason: string): boolean {
  return (
    /^(?:ERR_(?:SSL|TLS)_|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|HOSTNAME_MISMATCH|EPROTO)/.test(code) ||
    /wrong version number|certificate/i.test(reason)
  );
}
