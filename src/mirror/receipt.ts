import { createPublicKey, type KeyObject } from 'node:crypto';
import type { Digest } from '../core/digest.ts';
import { MirrorError } from '../core/errors.ts';
import type { Arrival, Mirror } from '../core/mirror.ts';
import { formatReference } from '../core/reference.ts';
import { verifyEnvelope } from '../lib/dsse.ts';
import {
  envelope as envelopeSchema,
  predicateType,
  type ReceiptKeysView,
  type Statement,
  statement as statementSchema,
  statementPayload,
  statementType,
} from '../wire/receipt.ts';
import { keyIdOf } from './signing.ts';

/** What is stated of a mirror that is done, as an in-toto Statement of version 1. It holds no secret. */
export function stateMirror(
  mirror: Mirror,
  arrival: Arrival,
  finishedAt: Date,
  { version, commitId }: { version: string; commitId: string },
): Statement {
  const { id, source, target, digest, selection, tenant, createdAt, startedAt = createdAt } = mirror;
  const { referrers, level, manifests, blobs, bytes, foreign, untagged } = arrival;
  const { registry, path } = target;
  const name = formatReference(untagged ? { registry, path, digest } : target);
  return {
    _type: statementType,
    subject: [{ name, digest: digestSet(digest) }],
    predicateType,
    predicate: {
      mirror: id,
      source: { reference: formatReference(source), digest },
      target: { reference: name, digest },
      selection: {
        ...(selection.platforms && { platforms: [...selection.platforms] }),
        referrers: typeof selection.referrers === 'string' ? selection.referrers : [...selection.referrers],
      },
      referrers,
      tenant,
      askedAt: createdAt.toISOString(),
      startedAt: startedAt.toISOString(),
      finishedAt: finishedAt.toISOString(),
      verification: { level, manifests, blobs, bytes, foreignLayers: foreign },
      by: { name: 'dray', version, ...(commitId !== '' && { commit: commitId }) },
    },
  };
}

/**
 * Checks a receipt against public keys.
 * @param digest what it must be of; absent: whatever it says.
 * @returns what was signed.
 * @throws MirrorError `bad_receipt`, which says whether it is none, its key is unknown, it was altered, or it is of
 *   something else.
 */
export function checkReceipt(envelope: unknown, keys: readonly KeyObject[], digest?: Digest): Statement {
  const read = envelopeSchema.safeParse(envelope);
  if (!read.success) throw bad('This is no DSSE envelope.');
  const { payloadType, signatures } = read.data;
  const payload = verifyEnvelope(read.data, keys);
  if (!payload) {
    const named = signatures.flatMap(({ keyid }) => keyid ?? []);
    const known = new Set(keys.map(keyIdOf));
    throw bad(
      named.some((keyid) => known.has(keyid))
        ? 'The signature does not fit: the receipt was altered, or is by somebody who only names this key.'
        : `It is signed with no key that is known here: it names ${named.join(', ').slice(0, 200) || 'none'}.`,
    );
  }
  const stated = statementSchema.safeParse(payloadType === statementPayload ? parse(payload) : undefined);
  if (!stated.success) throw bad('Its signature is good, but what is signed is no receipt of a mirror.');
  const { subject, predicate } = stated.data;
  const same =
    JSON.stringify(subject.map((each) => each.digest)) ===
    JSON.stringify([digestSet(predicate.target.digest)]);
  if (!same) throw bad('Its signature is good, but it contradicts itself.');
  if (digest !== undefined && predicate.target.digest !== digest)
    throw bad(`It is a receipt of ${predicate.target.digest}, not of ${digest}.`);
  return stated.data;
}

/** The public keys that a service has published; what can't be read is left out. */
export function readReceiptKeys({ keys }: ReceiptKeysView): KeyObject[] {
  return keys.map(({ pem }) => createPublicKey(pem));
}

function bad(message: string): MirrorError {
  return new MirrorError('bad_receipt', message);
}

/** As in-toto writes digests: by algorithm. */
function digestSet(digest: string): Record<string, string> {
  const [algorithm = '', hex = ''] = digest.split(':');
  return { [algorithm]: hex };
}

function parse(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString('utf8'));
  } catch {
    return undefined;
  }
}
