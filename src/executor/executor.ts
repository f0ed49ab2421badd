import type { Credential } from '../core/credential.ts';
import type { Digest } from '../core/digest.ts';
import type { Repository } from '../core/reference.ts';

/** One end of a copy. */
export interface Endpoint extends Repository {
  credential?: Credential;
  /** Plain HTTP is allowed, and certificates are not checked. */
  insecure: boolean;
  /** A PEM file with the CAs of this host. */
  caFile?: string;
}

/** Copy the manifest tree under one digest, byte for byte, to the same digest in another repository. */
export interface CopyJob {
  /** The mirror's id; whatever the executor creates is named after it, so that a second run attaches or replaces. */
  id: string;
  digest: Digest;
  source: Endpoint;
  target: Endpoint;
  /**
   * Seconds after which the copy is stopped with `time_limit`: retryable when this run finished a blob, since the
   * next one does not move that again and so gets further.
   */
  timeLimit: number;
  /** Seconds without any byte read or written after which the copy is stopped with `timeout`. */
  stallLimit: number;
}

/** What a running copy tells. */
export type CopyEvent =
  /** A line for the mirror's log; free of secrets. */
  | { type: 'log'; line: string }
  /** A blob (layer or config) began to move, arrived, or was found at the target (skipped, mounted). */
  | { type: 'blob'; digest: Digest; state: 'started' | 'done' | 'skipped' | 'mounted' }
  /** Bytes sent so far, as the kernel counts them for the child; protocol overhead included. Never decreases. */
  | { type: 'sent'; bytes: number }
  /** The child ended by itself with this status. */
  | { type: 'exit'; code: number };

/** The port of this room: runs one copy to its end. */
export interface Executor {
  /**
   * Resolves when everything under the digest was pushed.
   * A copy never waits for a registry that asks for it: it ends at once with `rate_limited`, so that its slot is
   * free meanwhile. `retryAfter` is what the registry named. It is absent where the registry named nothing, and
   * where the answer to an upload was refused, of which Skopeo shows the status only.
   * @throws MirrorError classified, with the side at fault; `cancelled` when the signal aborted it. On every
   * path the child is gone and the auth files are removed before it settles.
   */
  run(job: CopyJob, onEvent: (event: CopyEvent) => void, signal: AbortSignal): Promise<void>;
}
