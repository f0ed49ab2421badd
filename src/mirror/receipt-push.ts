import { createPublicKey, type KeyObject } from 'node:crypto';
import { Readable } from 'node:stream';
import { type Digest, digestOf } from '../core/digest.ts';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import type { Mirror } from '../core/mirror.ts';
import { formatReference } from '../core/reference.ts';
import type { Keychain } from '../keychain/keychain.ts';
import type { Envelope } from '../lib/dsse.ts';
import { fingerprint } from '../lib/fingerprint.ts';
import type { KeyedMutex } from '../lib/mutex.ts';
import type { Descriptor, Manifest, Registry } from '../registry/registry.ts';
import { envelopeType, type Statement } from '../wire/receipt.ts';
import { attach, pushBlob } from './delivery.ts';
import type { Pacer } from './pacing.ts';
import { enter, type Place } from './place.ts';
import { checkReceipt } from './receipt.ts';
import { receiptsAt, receiptType } from './receipt-find.ts';
import type { ReceiptKey } from './signing.ts';
import { onSide } from './side.ts';

/** Tells receipts that state the same, but for times and ids, without reading them. */
const sameness = 'dray.receipt.states';

const manifestType = 'application/vnd.oci.image.manifest.v1+json';
/** OCI image-spec, manifest.md, "Guidance for an Empty Descriptor". */
const emptyType = 'application/vnd.oci.empty.v1+json';
const empty = Buffer.from('{}');

/** Leaves a receipt at the target, as something that refers to the image. */
export type PushReceipt = (
  mirror: Mirror,
  envelope: string,
  keychain: Keychain,
  signal: AbortSignal,
) => Promise<void>;

/**
 * The same envelope makes the same manifest: one that is pushed again, in another try, is there once. Nothing is pushed
 * where a receipt states the same already: two registries that are each the other's source would have a new one to bring
 * for ever.
 * @param locks shared by all who change tags.
 * @param ownKeys what receipts of this installation are, or were, signed with.
 */
export function createReceiptPush(
  tools: { registry: Registry; pacer: Pacer },
  locks: KeyedMutex,
  ownKeys: () => Promise<ReceiptKey[]>,
): PushReceipt {
  const { registry } = tools;

  /** Whether one of ours that states this is there. The annotation is anybody's word: what counts is what was signed. */
  async function isThere(place: Place, digest: Digest, states: string): Promise<boolean> {
    const named = receiptsAt(place, digest, ({ annotations }) => annotations?.[sameness] === states);
    let keys: KeyObject[] | undefined;
    for await (const envelope of named) {
      keys ??= (await ownKeys()).map(({ publicKey }) => createPublicKey(publicKey));
      try {
        if (statesOf(checkReceipt(envelope, keys, digest)) === states) return true;
      } catch {
        // None of ours, and so no reason to keep ours back.
      }
    }
    return false;
  }

  return async ({ target, digest }, envelope, keychain, signal) => {
    const place = await enter(tools, keychain, target, 'target', signal);
    const { repository, access } = place;
    try {
      const { states, createdAt } = readEnvelope(envelope);
      if (await isThere(place, digest, states)) return;
      const subject = await onSide('target', () => registry.resolve({ ...repository, digest }, access));
      if (!subject)
        throw new MirrorError('manifest_unknown', `${formatReference({ ...repository, digest })} has gone.`, {
          side: 'target',
          retryable: true,
        });
      const layer = Buffer.from(envelope);
      for (const bytes of [empty, layer])
        await pushBlob(
          place,
          { digest: digestOf(bytes), size: bytes.length },
          () => Readable.from([bytes]),
          locks,
        );
      const annotations = { 'org.opencontainers.image.created': createdAt, [sameness]: states };
      await attach(place, digest, artifactOf(subject, layer, annotations), locks);
    } catch (caught) {
      const error = asMirrorError(caught);
      throw error.code === 'rate_limited' ? place.lane.throttle(error) : error;
    }
  };
}

function artifactOf(
  { mediaType, digest, size }: Descriptor,
  layer: Uint8Array,
  annotations: Record<string, string>,
): Manifest {
  const describe = (type: string, bytes: Uint8Array) => ({
    mediaType: type,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const body = {
    schemaVersion: 2,
    mediaType: manifestType,
    artifactType: receiptType,
    config: describe(emptyType, empty),
    layers: [describe(envelopeType, layer)],
    subject: { mediaType, digest, size },
    annotations,
  };
  const bytes = Buffer.from(JSON.stringify(body));
  return { ...describe(manifestType, bytes), bytes };
}

/** Of an envelope that was made here: what it states, but for times and ids, as a name; and when that was. */
function readEnvelope(text: string): { states: string; createdAt: string } {
  const { payload } = JSON.parse(text) as Envelope;
  const statement = JSON.parse(Buffer.from(payload, 'base64').toString('utf8')) as Statement;
  return { states: statesOf(statement), createdAt: statement.predicate.finishedAt };
}

function statesOf({ predicate: { source, target, selection, referrers } }: Statement): string {
  // Receipts that came along are no news either.
  const others = referrers.filter(({ artifactType }) => artifactType !== receiptType);
  const names = others.map(({ digest, subject, tag = '' }) => `${subject} ${digest} ${tag}`).sort();
  return fingerprint(source, target, selection, names);
}
