/** Which registry a failure belongs to. Absent: Dray itself, or the request. */
export type Side = 'source' | 'target';

interface Entry {
  /** Whether trying the same thing again later can succeed without anyone changing anything. */
  retryable: boolean;
  /** What the reader can do about it, in one sentence. */
  remedy: string;
}

/**
 * Every way in which a request or a mirror can fail. The first group is the caller's to mend, the second
 * comes from a registry and carries a side, the third from Seqera Platform, the last is Dray's own.
 */
export const catalogue = {
  invalid_request: { retryable: false, remedy: 'Correct the request and send it again.' },
  invalid_reference: {
    retryable: false,
    remedy: 'Write the image as [host[:port]/]path[:tag][@sha256:…], in lower case.',
  },
  not_a_mirror_request: {
    retryable: false,
    remedy: 'Set "mirror": true and name the target registry in "buildRepository".',
  },
  same_registry: { retryable: false, remedy: 'Choose a target on another registry host than the source.' },
  origin_conflict: {
    retryable: false,
    remedy: 'Mirror into another path of the target, or set `overwrite: always` in dray.yaml.',
  },
  policy_denied: {
    retryable: false,
    remedy:
      'Ask for something that the rule allows, or have an administrator change the rule under `policy` in dray.yaml.',
  },
  unauthenticated: {
    retryable: false,
    remedy:
      'Pass a key made with `dray keys create`, or an access token of the Seqera Platform that is paired with this service.',
  },
  unpaired_endpoint: {
    retryable: false,
    remedy:
      'Check the endpoint that you sent (tower.endpoint, TOWER_API_ENDPOINT). If it is right, an administrator lists it, with its token, under `platform.endpoints` in dray.yaml (or in DRAY_PLATFORM_ENDPOINTS and DRAY_PAIRING_TOKEN), and names this service in WAVE_SERVER_URL on the side of Seqera Platform.',
  },
  forbidden: { retryable: false, remedy: "Ask an administrator, or use an administrator's key." },
  unknown_id: { retryable: false, remedy: 'Check the id.' },
  already_ended: {
    retryable: false,
    remedy: 'There is nothing left to cancel; `dray retry` asks for it again.',
  },
  too_many_requests: {
    retryable: true,
    remedy: 'Ask less often, or have an administrator raise `limits` in dray.yaml.',
  },
  too_many_streams: {
    retryable: true,
    remedy: 'Try again in a moment, or ask for the state with GET /v1/mirrors/ID now and then.',
  },

  manifest_unknown: { retryable: false, remedy: 'Check that the image, its tag or its digest exists.' },
  platform_unknown: {
    retryable: false,
    remedy: 'Ask for platforms that the image has, or for all of them.',
  },
  blob_unknown: {
    retryable: false,
    remedy: 'The image is broken in its registry: push it there again, then mirror it again.',
  },
  login_required: {
    retryable: false,
    remedy: 'Add credentials for this registry to dray.yaml, or log in with `docker login`.',
  },
  credentials_rejected: {
    retryable: false,
    remedy: 'Check the user name and password that Dray has for this registry.',
  },
  denied: {
    retryable: false,
    remedy: 'Give the account the right to this repository, or use another account.',
  },
  insufficient_scope: {
    retryable: false,
    remedy:
      'Give the account, or the token that Dray has of it, the right to this repository: to pull at the source, to push at the target.',
  },
  rate_limited: { retryable: true, remedy: 'Wait, or use an account with a higher limit.' },
  registry_unavailable: { retryable: true, remedy: "Try again later; check the registry's own status." },
  timeout: { retryable: true, remedy: 'Try again later; check the network between Dray and the registry.' },
  reset: { retryable: true, remedy: 'Try again later; check proxies and firewalls on the way.' },
  refused: { retryable: true, remedy: 'Check the host and port, and that the registry runs.' },
  dns: { retryable: false, remedy: 'Check the spelling of the host.' },
  tls: {
    retryable: false,
    remedy: 'Add the CA of this registry to dray.yaml, or mark the host `insecure: true`.',
  },
  address_refused: {
    retryable: false,
    remedy:
      'If this service may go there, an administrator lists the registry, with its port, under `registries`, or its address under `network.allow`, in dray.yaml.',
  },
  token_server_refused: {
    retryable: false,
    remedy:
      'If that host may see the login, an administrator lists it under `tokenServers` of this registry in dray.yaml.',
  },
  protocol: {
    retryable: false,
    remedy: 'Check that this host is a container registry (OCI distribution, v2).',
  },
  digest_mismatch: {
    retryable: true,
    remedy: 'Content was altered on its way: check proxies and the registry.',
  },
  unsupported_manifest: { retryable: false, remedy: 'Push the image again with a current tool.' },
  immutable_tag: {
    retryable: false,
    remedy: 'The tag exists with other content and may not be moved: use another tag or target.',
  },
  quota_exceeded: {
    retryable: false,
    remedy:
      'Delete what is not needed there, or have the quota of this project or account raised; then submit it again.',
  },
  // Registries collect garbage by themselves.
  registry_full: {
    retryable: true,
    remedy: "Free space on the registry's own disk: delete images and collect the garbage, or give it more.",
  },
  sparse_index_refused: {
    retryable: false,
    remedy:
      'Mirror every platform, or have the registry take an index whose children are not all there (distribution v3: `validation.manifests.indexes.platforms`).',
  },
  push_refused: { retryable: false, remedy: "Read the registry's answer; check its policies and limits." },

  platform_unavailable: {
    retryable: true,
    remedy: 'Try again; check with `dray doctor` that Seqera Platform is connected to this service.',
  },
  credential_unreadable: {
    retryable: false,
    remedy: 'Save the credential on Seqera Platform again.',
  },
  grant_lost: { retryable: false, remedy: 'Submit it again.' },

  skopeo_missing: {
    retryable: false,
    remedy: 'Install Skopeo (Debian: apt install skopeo), or set skopeo.path.',
  },
  copy_failed: { retryable: true, remedy: "Read the mirror's log." },
  // Retryable when the copy had finished a layer: the next try does not move that again.
  time_limit: { retryable: false, remedy: 'Raise skopeo.timeLimit in dray.yaml, or check the network.' },
  cancelled: { retryable: false, remedy: 'Submit it again when it is wanted.' },
  bad_receipt: {
    retryable: false,
    remedy:
      'Do not rely on it. Ask for it again, and compare the keys with those that the service publishes.',
  },
  logins_unreadable: {
    retryable: false,
    remedy: 'Mend the file, log in again with `docker login`, or set `dockerConfig: false` in dray.yaml.',
  },
  disk_full: { retryable: true, remedy: "Free space on the disk of Dray's data folder." },
  database_unavailable: {
    retryable: true,
    remedy: 'Try again; check the database that DRAY_DATABASE_URL names.',
  },
  internal: { retryable: true, remedy: 'This is a fault in Dray: please report it with the log.' },
} as const satisfies Record<string, Entry>;

export type ErrorCode = keyof typeof catalogue;

/** What a registry says to a login, or the lack of one, that may not do something there. */
export const loginRefused: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'credentials_rejected',
  'login_required',
  'denied',
  'insufficient_scope',
]);

export interface MirrorErrorOptions {
  side?: Side;
  /** Overrides the catalogue's. */
  retryable?: boolean;
  /** Overrides the catalogue's. */
  remedy?: string;
  /** Seconds after which the other side said to come back. */
  retryAfter?: number;
  cause?: unknown;
}

/** What a failure looks like on record and on the wire: no stack, no cause, no secret. */
export interface Failure {
  code: ErrorCode;
  side?: Side;
  message: string;
  remedy: string;
  retryable: boolean;
}

/** The one error of this project. `message` says what failed in a full sentence and never holds a secret. */
export class MirrorError extends Error {
  override readonly name = 'MirrorError';
  readonly code: ErrorCode;
  readonly side: Side | undefined;
  readonly retryable: boolean;
  readonly remedy: string;
  readonly retryAfter: number | undefined;

  constructor(code: ErrorCode, message: string, options: MirrorErrorOptions = {}) {
    super(toLine(message), { cause: options.cause });
    const entry: Entry = catalogue[code];
    this.code = code;
    this.side = options.side;
    this.retryable = options.retryable ?? entry.retryable;
    this.remedy = options.remedy ?? entry.remedy;
    this.retryAfter = options.retryAfter;
  }

  /** The same error with something else said of it. */
  with(changes: MirrorErrorOptions & { message?: string }): MirrorError {
    const { code, side, retryable, remedy, retryAfter, cause } = this;
    const { message = this.message, ...options } = changes;
    return new MirrorError(code, message, {
      ...(side && { side }),
      ...(retryAfter !== undefined && { retryAfter }),
      retryable,
      remedy,
      cause,
      ...options,
    });
  }

  /** The same error, said of one side of a mirror. */
  at(side: Side): MirrorError {
    return this.with({ side });
  }

  toFailure(): Failure {
    const { code, side, message, remedy, retryable } = this;
    return { code, ...(side && { side }), message, remedy, retryable };
  }
}

/**
 * One line without control characters: a message may quote what a registry or a caller wrote, and goes to terminals, logs
 * and databases (PostgreSQL has no room for NUL, nor for halves of surrogate pairs).
 */
function toLine(message: string): string {
  return message.toWellFormed().replace(/\p{Cc}+/gu, ' ');
}

/** Makes sure that what was caught is a MirrorError; anything else is a fault of ours and keeps its cause. */
export function asMirrorError(error: unknown): MirrorError {
  if (error instanceof MirrorError) return error;
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new MirrorError('disk_full', 'The disk of the data folder is full.', { cause: error });
  return new MirrorError('internal', 'Something went wrong inside Dray.', { cause: error });
}
