import { type ErrorCode, MirrorError, type Side } from '../core/errors.ts';
import { isLoopback } from '../core/reference.ts';
import { isFull, isImmutable, isQuota, lacksScope } from '../core/refusal.ts';
import type { CopyJob, Endpoint } from './executor.ts';
import type { Throttle } from './output.ts';

type Sign = RegExp | ((text: string) => boolean);

// In this order: the first that fits wins. test/vectors/skopeo has what Skopeo 1.9.3 and 1.22 say of each, and how it
// was provoked.
const causes: [Sign, ErrorCode][] = [
  // Skopeo 1.9.3 knows no IPv6 address as a registry.
  [/invalid reference format/i, 'invalid_reference'],
  [/Source image rejected/i, 'denied'],
  [isFull, 'disk_full'],
  // Before quotas: Google calls too many requests a quota that is exceeded.
  [/toomanyrequests|too many requests|\b429\b/i, 'rate_limited'],
  [isQuota, 'quota_exceeded'],
  [/\b507\b/, 'quota_exceeded'],
  // Token servers say 400, 401 or 403 for a wrong password.
  [/invalid username\/password|Requesting bearer token: .*\b40[013]\b/i, 'credentials_rejected'],
  [lacksScope, 'insufficient_scope'],
  // What both make of `error="insufficient_scope"`: a list of errors in 1.9.3, these bare words in 1.22. Of another
  // 403 they give the code first, which is also called "denied".
  [
    /errors:\s+denied: requested access to the resource is denied|(?<!denied: )requested access to the resource is denied/i,
    'insufficient_scope',
  ],
  [/unauthorized|authentication required|\b401\b/i, 'login_required'],
  // Before what is denied and what is invalid: products choose either for it.
  [isImmutable, 'immutable_tag'],
  [/\bdenied\b|forbidden|\b403\b/i, 'denied'],
  [
    /Digest did not match|does not match (?:provided manifest digest|expected)|digest invalid|provided digest did not match/i,
    'digest_mismatch',
  ],
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
  // 504 is an answer: "Gateway Timeout".
  [/(?<!gateway )timeout|deadline exceeded|no route to host|network is unreachable/i, 'timeout'],
  [
    /\b50[0-9]\b|internal server error|service unavailable|bad gateway|gateway timeout/i,
    'registry_unavailable',
  ],
  [
    /unsupported schema version|received a manifest list instead|cannot unmarshal|Unknown media type/i,
    'unsupported_manifest',
  ],
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
  const code =
    causes.find(([sign]) => (typeof sign === 'function' ? sign(text) : sign.test(text)))?.[1] ??
    'copy_failed';
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
  return new MirrorError(side ? seenFrom(side, code, job) : code, message, { ...(side && { side }) });
}

/** An image may be called `certificate` or `denied`, and a port may be 404: neither is a cause. */
function withoutNames(text: string): string {
  return text.replace(/(?<!\S)(?!username\/password)\S*(?:\/|:[0-9])\S*|repository \S+/g, '…:');
}

/** The same words mean different things from a source and from a target, with a login and without. */
function seenFrom(side: Side, code: ErrorCode, job: CopyJob): ErrorCode {
  const target = side === 'target';
  switch (code) {
    case 'login_required':
    case 'credentials_rejected':
      return job[side].credential ? 'credentials_rejected' : 'login_required';
    case 'insufficient_scope':
      // A token for nobody is good for what is public.
      return job[side].credential ? code : 'login_required';
    case 'disk_full':
      return 'registry_full';
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

/** Names the wait that a registry asks for. */
export function throttledBy({ host, retryAfter }: Throttle, job: CopyJob): MirrorError {
  const wait = retryAfter === undefined ? '' : ` and asks to wait for ${retryAfter} s`;
  const side = mentioned(host, job);
  return new MirrorError('rate_limited', `${host} answered 429${wait}, when copying: too many requests.`, {
    ...(side && { side }),
    ...(retryAfter !== undefined && { retryAfter }),
  });
}

/**
 * Names a standstill.
 * @param counted whether its bytes were counted; else it was only listened to
 * @param awaited the host that it waited for, if that is known
 */
export function stoodStill(job: CopyJob, counted: boolean, awaited: string | undefined): MirrorError {
  const how = counted ? 'neither read nor wrote a byte' : 'said nothing';
  const whom = awaited === undefined ? '' : ` and waited for ${awaited}`;
  const side = mentioned(awaited ?? '', job);
  return new MirrorError('timeout', `The copy was stopped: for ${job.stallLimit} s, Skopeo ${how}${whom}.`, {
    ...(side && { side }),
    remedy: 'Try again later; check the registries, and the network between them and Dray.',
  });
}

/**
 * Names the end of a copy's time.
 * @param finished how many blobs it brought to the target: these the next try finds there
 */
export function tookTooLong({ timeLimit }: CopyJob, finished: number): MirrorError {
  const how = `The copy took longer than ${timeLimit} s`;
  return finished > 0
    ? new MirrorError(
        'time_limit',
        `${how}; what it finished (layers and configs: ${finished}) is not moved again by the next try.`,
        { retryable: true },
      )
    : new MirrorError(
        'time_limit',
        `${how} and finished no layer, so that another try would get no further.`,
      );
}
