import type { Digest } from '../core/digest.ts';
import type { Mirror, MirrorState } from '../core/mirror.ts';

/** Who asks. */
export interface Caller {
  /** The key's id; requests and the right to read logs belong to it. */
  keyId: string;
  admin: boolean;
}

/** A checked request to mirror one image. */
export interface Submission {
  /** The source reference as the caller wrote it. */
  image: string;
  /** The target: host, or host and path. */
  repository: string;
  /** Validate and answer, start nothing. */
  dryRun: boolean;
}

/** What a caller is told at once. */
export interface Answer {
  /** Unguessable: the only secret of the status call. */
  requestId: string;
  /** The target reference that the client will pull. */
  target: string;
  /** Absent when nothing had to be copied and nothing is on record. */
  mirrorId?: string;
  digest: Digest;
  /** The target already holds the source's digest. */
  cached: boolean;
  /** The image is there now, or (dry run) there is nothing to wait for. */
  succeeded: boolean;
}

/** A request on record, joined with its mirror where there is one. */
export interface RequestRecord {
  id: string;
  image: string;
  target: string;
  digest: Digest;
  cached: boolean;
  createdAt: Date;
  mirror?: Mirror;
}

export interface ListOptions {
  limit: number;
  /** Continue after this mirror id, newest first. */
  before?: string;
  state?: MirrorState;
}

/** What the API needs of this room. Every method throws MirrorError only. */
export interface MirrorService {
  submit(submission: Submission, caller: Caller, signal: AbortSignal): Promise<Answer>;
  request(requestId: string): Promise<RequestRecord | undefined>;
  mirror(mirrorId: string): Promise<Mirror | undefined>;
  /** Whether the caller asked for this mirror, or is an administrator. */
  mayReadLog(mirrorId: string, caller: Caller): Promise<boolean>;
  log(mirrorId: string): Promise<string>;
  /** Newest first; an administrator's sees all, another caller's only what it asked for. */
  list(options: ListOptions, caller: Caller): Promise<Mirror[]>;
}
