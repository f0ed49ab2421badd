import type { Digest } from './digest.ts';
import type { Failure } from './errors.ts';
import type { Reference } from './reference.ts';
import type { Selection } from './selection.ts';

/** The states of a mirror; docs/job-states.md draws them. */
export const mirrorStates = ['queued', 'copying', 'done', 'failed', 'cancelled'] as const;
export type MirrorState = (typeof mirrorStates)[number];

/** Whether nothing more becomes of it. */
export function isFinal(state: MirrorState): boolean {
  return state === 'done' || state === 'failed' || state === 'cancelled';
}

/** What a running copy is busy with. */
export type Phase = 'planning' | 'copying' | 'verifying' | 'tagging';

/** How far a copy is. Bytes are compressed bytes as the registries count them; a blob counts once. */
export interface Progress {
  layersDone: number;
  layersTotal: number;
  bytesDone: number;
  bytesTotal: number;
}

export const noProgress: Progress = { layersDone: 0, layersTotal: 0, bytesDone: 0, bytesTotal: 0 };

/** A pause before the next try; `failure` says why. */
export interface Wait {
  until: Date;
  /** Who asked for it: a registry that lets nobody in, or a Seqera Platform that is away. Absent: our own back-off. */
  host?: string;
}

/** How a target was looked at: every manifest read and hashed; the size of each blob asked for too; or every byte of them. */
export const verifyLevels = ['manifests', 'blobs', 'full'] as const;
export type VerifyLevel = (typeof verifyLevels)[number];

/** Something that refers to a manifest: a signature, an attestation, a list of what is in it. */
export interface Referrer {
  digest: Digest;
  /** The manifest that it refers to. */
  subject: Digest;
  /** What kind it is; empty where nothing tells. */
  artifactType: string;
  /** The tag that it is found under, where it has no `subject` of its own: cosign's. */
  tag?: string;
}

/** What a mirror has brought, or found there. */
export interface Arrival {
  /** Counts, each thing once: what is under the digest, without what refers to it. */
  manifests: number;
  blobs: number;
  /** Compressed bytes of those blobs. */
  bytes: number;
  /** Layers that live elsewhere by design and were not looked for. */
  foreign: Digest[];
  referrers: Referrer[];
  level: VerifyLevel;
  /** What of it the last try has moved; the rest was there. */
  moved: { blobs: number; bytes: number; referrers: number };
  /** The tag was left as it is: by then the source's pointed elsewhere. */
  untagged?: true;
}

/** One image on its way, or arrived, at one target. */
export interface Mirror {
  /** `mr-` and 32 random hex digits: unguessable, since its record and page are open to whoever holds it. */
  id: string;
  /** Who asked for it first, and whose logins it is made with: see {@link Caller} of the service. */
  tenant: string;
  /** The source as asked for, completed (`docker.io/library/ubuntu:latest`). */
  source: Reference;
  target: Reference;
  /** What the source resolved to when the mirror was asked for; this is what is copied. */
  digest: Digest;
  selection: Selection;
  state: MirrorState;
  phase?: Phase;
  progress: Progress;
  /** How many times a copy has been started. */
  attempts: number;
  createdAt: Date;
  startedAt?: Date;
  finishedAt?: Date;
  /** Why it failed, or why its last try did. */
  failure?: Failure;
  /** While it is `queued`. */
  wait?: Wait;
  /** When it is done. Absent for those of releases that kept none. */
  arrival?: Arrival;
  /** Skopeo's exit status, where it ran. */
  exitCode?: number;
}
