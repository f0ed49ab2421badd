import type { Credential } from '../core/credential.ts';
import { type Digest, isDigest } from '../core/digest.ts';
import { type ErrorCode, MirrorError, type Side } from '../core/errors.ts';
import { formatReference, isLoopback } from '../core/reference.ts';
import type { CopyEvent, CopyJob, Endpoint } from './executor.ts';

/** Where a job's files are. */
export interface JobFiles {
  sourceAuth: string;
  targetAuth: string;
  sourceCerts: string;
  targetCerts: string;
}

/**
 * Arguments for one copy, digest to digest. No `--format`: with preserved digests it fails on an OCI index.
 * No `--retry-times`: it repeats single requests, slowly; the queue repeats the copy, and finished blobs are
 * skipped. `--debug` tells uploads, skips and mounts apart, which the normal output does not. Nothing secret is
 * here: logins are in the auth files.
 */
export function skopeoArguments(job: CopyJob, files: JobFiles): string[] {
  const { source, target, digest } = job;
  return [
    ...['--debug', 'copy', '--all', '--preserve-digests'],
    ...endpointArguments('src', source, files.sourceAuth, files.sourceCerts),
    ...endpointArguments('dest', target, files.targetAuth, files.targetCerts),
    `docker://${formatReference({ registry: source.registry, path: source.path, digest })}`,
    `docker://${formatReference({ registry: target.registry, path: target.path, digest })}`,
  ];
}

function endpointArguments(side: 'src' | 'dest', end: Endpoint, auth: string, certs: string): string[] {
  return [
    // Skopeo 1.9.3 goes on to the user's own Docker logins when the given file has none for the host.
    ...(end.credential ? [`--${side}-authfile`, auth] : [`--${side}-no-creds`]),
    ...(end.insecure ? [`--${side}-tls-verify=false`] : []),
    ...(end.caFile === undefined ? [] : [`--${side}-cert-dir`, certs]),
  ];
}

/** The auth file (containers-auth.json(5)) for one host. */
export function authFile(registry: string, credential: Credential): string {
  const username = credential.username ?? '<token>';
  const password = 'password' in credential ? credential.password : '';
  const entry = {
    auth: Buffer.from(`${username}:${password}`).toString('base64'),
    ...('identityToken' in credential && { identitytoken: credential.identityToken }),
  };
  return JSON.stringify({ auths: { [registry]: entry } });
}

const line = /^time="[^"]*" level=(\w+) msg=(.*)$/;
const blobStates: [RegExp, 'started' | 'done' | 'skipped' | 'mounted'][] = [
  [/^Downloading \S*\/blobs\/(\S+)$/, 'started'],
  [/^Upload of layer (\S+) complete$/, 'done'],
  [/^Skipping blob (\S+) \(already present\)/, 'skipped'],
];
const mounting = /^Trying to mount \S*[?&]mount=([^&\s]+)/;

// Whatever the target answers to an index, the fatal line is about converting it; the answer is told at debug only.
const indexRefused = /^Upload of manifest list type \S+ failed: (.*)$/;
const convert = /^Manifest list must be converted/;

/** Reads a copy's output line by line. */
export interface OutputReader {
  read(text: string): CopyEvent[];
  /** What Skopeo called fatal, without its frame; empty when it said nothing. */
  fatal(): string;
}

export function createOutputReader(): OutputReader {
  const tried = new Set<string>();
  let fatal = '';
  let refusal: string | undefined;
  return {
    read(text) {
      const [, level, quoted] = line.exec(text) ?? [];
      if (level === undefined || quoted === undefined) return text.trim() === '' ? [] : [say(text)];
      const message = unquote(quoted);
      refusal ??= indexRefused.exec(message)?.[1];
      if (level === 'fatal') fatal = cleanText(convert.test(message) ? (refusal ?? message) : message);
      if (level !== 'debug') return [say(`${level}: ${message}`)];
      const mount = mounting.exec(message)?.[1];
      if (mount !== undefined) tried.add(decodeURIComponent(mount));
      for (const [pattern, state] of blobStates) {
        const digest = pattern.exec(message)?.[1];
        if (digest === undefined || !isDigest(digest)) continue;
        return [blob(digest, state === 'skipped' && tried.has(digest) ? 'mounted' : state)];
      }
      return [];
    },
    fatal: () => fatal,
  };
}

function say(text: string): CopyEvent {
  return { type: 'log', line: cleanText(text) };
}

function blob(digest: Digest, state: 'started' | 'done' | 'skipped' | 'mounted'): CopyEvent {
  return { type: 'blob', digest, state };
}

/** logrus writes a message with spaces as a Go string literal. */
function unquote(text: string): string {
  return text.startsWith('"') && text.endsWith('"')
    ? text
        .slice(1, -1)
        .replace(/\\(["\\])/g, '$1')
        .replace(/\\n/g, ' ')
    : text;
}

/** Query strings may be signed, and a URL may hold a login: neither is for a log. */
function cleanText(text: string): string {
  return text
    .replace(/(https?:\/\/[^\s"?]*)\?[^\s"]*/g, '$1')
    .replace(/(https?:\/\/)[^\s"/@]*@/g, '$1')
    .slice(0, 2000);
}

// In this order: the first that fits wins. The texts are those of Skopeo 1.9.3 and of containers/image, and of
// the registries behind them; failures.test.ts says how each was provoked.
const causes: [RegExp, ErrorCode][] = [
  // Skopeo 1.9.3 knows no IPv6 address as a registry.
  [/invalid reference format/i, 'invalid_reference'],
  [/Source image rejected/i, 'denied'],
  [/no space left on device|disk quota exceeded/i, 'disk_full'],
  [/toomanyrequests|too many requests|\b429\b/i, 'rate_limited'],
  // Token servers say 400, 401 or 403 for a wrong password.
  [/invalid username\/password|Requesting bearer token: .*\b40[013]\b/i, 'credentials_rejected'],
  [/unauthorized|authentication required|\b401\b/i, 'login_required'],
  [/\bdenied\b|forbidden|\b403\b/i, 'denied'],
  [/Digest did not match|does not match provided manifest digest|digest invalid/i, 'digest_mismatch'],
  [/pinging container registry.*\b404\b/i, 'protocol'],
  [/blob unknown|fetching blob: .*404|reading blob .*404/i, 'blob_unknown'],
  [/manifest unknown|name unknown|not found|\b404\b/i, 'manifest_unknown'],
  [/no such host|server misbehaving/i, 'dns'],
  [/x509:|tls:|certificate|server gave HTTP response to HTTPS client/i, 'tls'],
  [/connection refused/i, 'refused'],
  [
    /connection reset|broken pipe|closed network connection|unexpected EOF|: EOF|server closed|stream error/i,
    'reset',
  ],
  [/timeout|deadline exceeded|no route to host|network is unreachable/i, 'timeout'],
  [/\b50[0-9]\b|internal server error|service unavailable|bad gateway/i, 'registry_unavailable'],
  [
    /unsupported schema version|received a manifest list instead|cannot unmarshal|Unknown media type/i,
    'unsupported_manifest',
  ],
  [/immutable/i, 'immutable_tag'],
  [/unsupported|manifest invalid|StatusCode: 4[0-9]{2}\b/i, 'push_refused'],
];

const sides: [RegExp, Side][] = [
  // The reader of the source fails inside the target's upload.
  [/happened during read/i, 'source'],
  [
    /initializing destination|at destination|writing blob|uploading|writing manifest|error writing|checking (?:if|whether) .* exists|determining upload|initiating layer upload/i,
    'target',
  ],
  [
    /initializing (?:image from )?source|reading manifest|reading (?:config )?blob|fetching blob|parsing image|Source image|determining manifest|reading signatures|received a manifest list instead/i,
    'source',
  ],
];

/** Go's words where it may speak no plain HTTP, see lib/guard.ts. */
const inClear = /(?:http:\/\/([^\s"/?]+)[^\s"]*": )?refusing to use HTTP_PROXY value in CGI environment/;

/** Go uses no proxy for loopback; in a network namespace of its own there is nothing, see lib/namespace.ts. */
const toLoopback = /(?<!proxyconnect tcp: )dial tcp (127\.[0-9.]+|\[::1\]):[0-9]+: connect/;

/**
 * Names the failure that Skopeo called fatal, and whose it is.
 * @param refused what the guard said of a connection that it refused: for plain HTTP, Skopeo tells only its status
 */
export function classifyFailure(fatal: string, job: CopyJob, exit: string, refused?: string): MirrorError {
  const text = withoutNames(fatal);
  const code = causes.find(([pattern]) => pattern.test(text))?.[1] ?? 'copy_failed';
  const side = sides.find(([pattern]) => pattern.test(fatal))?.[1] ?? mentioned(fatal, job);
  if (refused !== undefined)
    return new MirrorError('address_refused', `${refused}, when copying.`, { ...(side && { side }) });
  const [, loopback] = toLoopback.exec(fatal) ?? [];
  if (loopback !== undefined && ![job.source, job.target].some(({ registry }) => isLoopback(registry)))
    return new MirrorError(
      'address_refused',
      `A registry led Skopeo on to ${loopback}, a loopback address that this service does not go to, when copying.`,
      { ...(side && { side }) },
    );
  const clear = inClear.exec(fatal);
  if (clear)
    return new MirrorError(
      'protocol',
      `A registry that is reached by HTTPS led Skopeo on to plain HTTP${clear[1] ? ` at ${clear[1]}` : ''}; Dray does not go there.`,
      { ...(side && { side }) },
    );
  const message = `Skopeo could not copy: ${fatal || `it ended ${exit} and said nothing`}.`;
  return new MirrorError(side ? seenFrom(side, code, text, job) : code, message, { ...(side && { side }) });
}

/** An image may be called `certificate` or `denied`, and a port may be 404: neither is a cause. */
function withoutNames(text: string): string {
  return text.replace(/(?<!\S)(?!username\/password)\S*(?:\/|:[0-9])\S*|repository \S+/g, '…:');
}

/** The same words mean different things from a source and from a target, with a login and without. */
function seenFrom(side: Side, code: ErrorCode, text: string, job: CopyJob): ErrorCode {
  const target = side === 'target';
  switch (code) {
    case 'login_required':
    case 'credentials_rejected':
      if (!job[side].credential) return 'login_required';
      // Docker Hub says both of an account without the right.
      return /\bdenied\b/i.test(text) ? 'denied' : 'credentials_rejected';
    case 'manifest_unknown':
      return target ? 'push_refused' : code;
    case 'blob_unknown':
      // What was there when we looked is gone: the next try sends it again.
      return target ? 'copy_failed' : code;
    case 'push_refused':
      return target ? code : 'protocol';
    default:
      return code;
  }
}

/** Source and target are never on the same host, so a host's name tells the side. */
function mentioned(text: string, { source, target }: CopyJob): Side | undefined {
  const has = ({ registry }: Endpoint) => text.includes(registry === 'docker.io' ? 'docker.io' : registry);
  if (has(source) === has(target)) return undefined;
  return has(source) ? 'source' : 'target';
}
