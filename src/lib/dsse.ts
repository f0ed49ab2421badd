import type { KeyObject } from 'node:crypto';
import { isSigned } from './signed.ts';

/** A signed payload (secure-systems-lab/dsse, envelope.md); payload and signatures in base64. */
export interface Envelope {
  payload: string;
  payloadType: string;
  signatures: { keyid?: string; sig: string }[];
}

/** What is signed: the payload with its type, each with its length (protocol.md, "PAE"). */
export function pae(type: string, payload: Uint8Array): Buffer {
  return Buffer.concat([
    Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `),
    payload,
  ]);
}

/** The payload, when one of the keys has signed it. Key ids are hints that nobody has signed: they are not looked at. */
export function verifyEnvelope(envelope: Envelope, keys: KeyObject[]): Buffer | undefined {
  const payload = Buffer.from(envelope.payload, 'base64');
  const signed = pae(envelope.payloadType, payload);
  const signatures = envelope.signatures.map(({ sig }) => Buffer.from(sig, 'base64'));
  return signatures.some((signature) => keys.some((key) => isSigned(signed, signature, key)))
    ? payload
    : undefined;
}
