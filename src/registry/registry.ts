import type { Credential } from '../core/credential.ts';
import type { Digest } from '../core/digest.ts';
import type { Reference, Repository } from '../core/reference.ts';

/** What a registry says of a manifest (OCI image-spec, descriptor.md). Size in bytes. */
export interface Descriptor {
  mediaType: string;
  digest: Digest;
  size: number;
  /** In lists of referrers: what kind it is, and what its maker says of it. */
  artifactType?: string;
  annotations?: Record<string, string>;
}

/** A manifest's exact bytes with what they hash to. */
export interface Manifest extends Descriptor {
  bytes: Uint8Array;
}

export interface Access {
  credential?: Credential | undefined;
  signal: AbortSignal;
}

/**
 * Our OCI distribution client. Every method throws a classified MirrorError without a side (the caller knows
 * the side and adds it with `.at(side)`), tries nothing twice except after a 401, and sends credentials to no
 * other host than the registry's own and its token realm.
 */
export interface Registry {
  /** HEAD on the tag or digest; falls back to GET and hashing when the registry names no digest. `undefined` on 404. */
  resolve(reference: Reference, access: Access): Promise<Descriptor | undefined>;
  /** The manifest's bytes, hashed and compared with the digest asked for. `undefined` on 404. */
  manifest(reference: Reference, access: Access): Promise<Manifest | undefined>;
  /**
   * HEAD on a blob: whether it is there, and in its size. A registry need not tell that (OCI distribution-spec, "Checking
   * if content exists in the registry"); then it is `there`.
   */
  lookForBlob(
    repository: Repository,
    blob: Pick<Descriptor, 'digest' | 'size'>,
    access: Access,
  ): Promise<'there' | 'missing' | 'size'>;
  /** The blob's bytes as a stream, unchecked; it too fails with a MirrorError. */
  blob(repository: Repository, digest: Digest, access: Access): Promise<AsyncIterable<Uint8Array>>;
  /**
   * What refers to a manifest, by the registry's own list (OCI distribution-spec 1.1, "Listing Referrers").
   * @returns undefined when the registry keeps none: then it is in an index under a tag, see {@link Registry.manifest}.
   */
  referrers(repository: Repository, digest: Digest, access: Access): Promise<Descriptor[] | undefined>;
  /**
   * Pushes a blob, unless the registry has it; `open` is called when its bytes are wanted, and they are hashed on
   * their way.
   * @throws MirrorError `digest_mismatch` when they are not what the descriptor says.
   */
  putBlob(
    repository: Repository,
    blob: Pick<Descriptor, 'digest' | 'size'>,
    open: () => Promise<AsyncIterable<Uint8Array>>,
    access: Access,
  ): Promise<void>;
  /**
   * PUTs manifest bytes under a tag or digest; checks the digest that the registry answers.
   * @returns `listed`: it has a `subject`, and the registry lists it among the referrers of that.
   */
  putManifest(
    repository: Repository,
    under: string,
    manifest: Manifest,
    access: Access,
  ): Promise<{ listed: boolean }>;
  /**
   * Resolves when this login may push to the repository: opens an upload and cancels it.
   * @returns false when there is no such repository, and the registry makes none by itself.
   * @throws MirrorError `login_required`, `credentials_rejected`, `denied`, `push_refused`.
   */
  checkPush(repository: Repository, access: Access): Promise<boolean>;
  /**
   * Asks `/v2/`: resolves when the host answers as a registry and accepts the credential, if any. Returns the
   * time by the registry's clock.
   */
  ping(registry: string, access: Access): Promise<Date | undefined>;
  close(): Promise<void>;
}
