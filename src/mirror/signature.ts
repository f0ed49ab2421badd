import type { KeyObject } from 'node:crypto';
import { type Digest, isDigest } from '../core/digest.ts';
import type { Repository } from '../core/reference.ts';
import { type Envelope, verifyEnvelope } from '../lib/dsse.ts';
import { isObject, member, parseJson } from '../lib/json.ts';
import { isSigned } from '../lib/signed.ts';
import type { Access, Descriptor, Manifest, Registry } from '../registry/registry.ts';
import { readBlob, unlessBroken } from './blob.ts';
import { emptyType, fallbackTag, referrersOf } from './referrers.ts';

// Signatures as cosign keeps them beside an image, checked with given public keys and nothing else: no transparency log,
// no certificate, no clock. Sources: SIGNATURE_SPEC.md and BUNDLE_SPEC.md of sigstore/cosign, sigstore_bundle.proto.

const payloadType = 'application/vnd.dev.cosign.simplesigning.v1+json';
/** Cosign 2 with OCI 1.1 referrers. */
const cosignType = 'application/vnd.dev.cosign.artifact.sig.v1+json';
/** Cosign 3; its attestations have the same type, and only this predicate is a signature of the image. */
const bundleType = /^application\/vnd\.dev\.sigstore\.bundle(?:\.v|\+json)/;
const signPredicate = 'https://sigstore.dev/cosign/sign/v1';

/** Bytes of a payload or bundle; real ones have some 300, and 10,000. */
const blobLimit = 512 * 1024;
/** Of one image; whoever may push could else have a service read for hours. */
const referrerLimit = 64;
const layerLimit = 64;

interface Layer {
  mediaType: string;
  digest: Digest;
  size: number;
  annotations: Record<string, unknown>;
}

/**
 * Whether one of the keys has signed a digest. Reads the signatures that are beside it in its repository: in the tag
 * `sha256-<hex>.sig`, as referrers, and in Sigstore bundles. What is no signature, or broken, counts for nothing.
 * @throws MirrorError when the registry does not tell.
 */
export async function isSignedBy(
  keys: KeyObject[],
  registry: Registry,
  repository: Repository,
  digest: Digest,
  access: Access,
): Promise<boolean> {
  const read = (layer: Layer) => unlessBroken(() => readBlob(registry, repository, layer, blobLimit, access));
  const manifest = (digest: Digest) =>
    unlessBroken(() => registry.manifest({ ...repository, digest }, access));

  async function inPayloads(holder: Manifest | undefined): Promise<boolean> {
    for (const layer of layersOf(holder)) {
      const signature = layer.annotations['dev.cosignproject.cosign/signature'];
      if (layer.mediaType !== payloadType || typeof signature !== 'string') continue;
      const payload = await read(layer);
      if (payload && isSignedPayload(payload, signature, digest, keys)) return true;
    }
    return false;
  }

  async function inBundles(holder: Manifest | undefined): Promise<boolean> {
    for (const layer of layersOf(holder)) {
      const bundle = bundleType.test(layer.mediaType) ? await read(layer) : undefined;
      if (!bundle) continue;
      const subject = async () => (await registry.manifest({ ...repository, digest }, access))?.bytes;
      if (await isSignedBundle(bundle, digest, subject, keys)) return true;
    }
    return false;
  }

  const tag = `${fallbackTag(digest)}.sig`;
  if (await inPayloads(await unlessBroken(() => registry.manifest({ ...repository, tag }, access))))
    return true;
  const place = { registry, repository, access, side: 'source' } as const;
  const { entries: referrers } = await referrersOf(place, digest);
  for (const { digest: at } of referrers.filter(mayBeSignature).slice(0, referrerLimit)) {
    const holder = await manifest(at);
    if ((await inPayloads(holder)) || (await inBundles(holder))) return true;
  }
  return false;
}

/** A fallback index written by cosign has no annotations, and the config's type for every bundle; its manifest tells more. */
function mayBeSignature({ artifactType = emptyType, annotations = {} }: Descriptor): boolean {
  if (artifactType === cosignType || artifactType === emptyType) return true;
  const predicate = annotations['dev.sigstore.bundle.predicateType'];
  return bundleType.test(artifactType) && (predicate === undefined || predicate === signPredicate);
}

/** Simple signing (containers-signature(5)): the signed bytes name the digest. */
export function isSignedPayload(
  payload: Uint8Array,
  signature: string,
  digest: Digest,
  keys: KeyObject[],
): boolean {
  const bytes = Buffer.from(signature, 'base64');
  if (!keys.some((key) => isSigned(payload, bytes, key))) return false;
  const critical = member(parseJson(payload), 'critical');
  return (
    member(critical, 'type') === 'cosign container image signature' &&
    member(critical, 'image', 'docker-manifest-digest') === digest
  );
}

/**
 * A Sigstore bundle: an in-toto statement of cosign about the digest, or a signature of the manifest's own bytes.
 * @param subject reads the manifest that the digest is of; called for the second kind only.
 */
export async function isSignedBundle(
  bundle: Uint8Array,
  digest: Digest,
  subject: () => Promise<Uint8Array | undefined>,
  keys: KeyObject[],
): Promise<boolean> {
  const parsed = parseJson(bundle);
  const envelope = member(parsed, 'dsseEnvelope');
  if (isEnvelope(envelope)) {
    if (envelope.payloadType !== 'application/vnd.in-toto+json') return false;
    const payload = verifyEnvelope(envelope, keys);
    return payload !== undefined && isStatementOf(parseJson(payload), digest);
  }
  const signature = member(parsed, 'messageSignature', 'signature');
  if (typeof signature !== 'string') return false;
  const bytes = await subject();
  const signed = Buffer.from(signature, 'base64');
  return bytes !== undefined && keys.some((key) => isSigned(bytes, signed, key));
}

function isStatementOf(statement: unknown, digest: Digest): boolean {
  const subjects = member(statement, 'subject');
  const [algorithm = '', hex] = digest.split(':');
  return (
    /^https:\/\/in-toto\.io\/Statement\/v(?:0\.1|1)$/.test(String(member(statement, '_type'))) &&
    member(statement, 'predicateType') === signPredicate &&
    Array.isArray(subjects) &&
    subjects.some((subject) => member(subject, 'digest', algorithm) === hex)
  );
}

function isEnvelope(value: unknown): value is Envelope {
  const signatures = member(value, 'signatures');
  return (
    typeof member(value, 'payload') === 'string' &&
    typeof member(value, 'payloadType') === 'string' &&
    Array.isArray(signatures) &&
    signatures.length <= layerLimit &&
    signatures.every((signature) => typeof member(signature, 'sig') === 'string')
  );
}

/** The layers of a manifest that may be anything, as far as they are some. */
export function layersOf(manifest: Manifest | undefined): Layer[] {
  const layers = manifest && member(parseJson(manifest.bytes), 'layers');
  if (!Array.isArray(layers)) return [];
  return layers.slice(0, layerLimit).flatMap((layer: unknown) => {
    const [mediaType, digest, size] = ['mediaType', 'digest', 'size'].map((name) => member(layer, name));
    if (typeof mediaType !== 'string' || typeof size !== 'number') return [];
    if (typeof digest !== 'string' || !isDigest(digest)) return [];
    const annotations = member(layer, 'annotations');
    return { mediaType, digest, size, annotations: isObject(annotations) ? annotations : {} };
  });
}
