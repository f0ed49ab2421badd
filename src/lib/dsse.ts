import { type KeyObject, sign } from 'node:crypto';
import { isSigned } from './signed.ts';

/** A signed payload, as JSON carries it (DSSE 1.0, envelope.md). Payload and signatures are in base64. */
export interface Envelope {
  payload: string;
  payloadType: string;
  signatures: { keyid?: string; sig: string }[];
}

/** Signatures that are looked at; more are an attack. */
const signatureLimit = 100;

/** What is signed: type and payload with their lengths in bytes, so that neither can be taken for a part of the other. */
export function pae(type: string, payload: Uint8Array): Buffer {
  const head = `DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `;
  return Buffer.concat([Buffer.from(head), payload]);
}

/**
 * Signs with SHA-256.
 * @param privateKey of P-256: the signature is in DER then, as cosign and the libraries of Go and Python take it.
 */
export function signEnvelope(
  payload: Uint8Array,
  type: string,
  { keyid, privateKey }: { keyid: string; privateKey: KeyObject },
): Envelope {
  return {
    payload: Buffer.from(payload).toString('base64'),
    payloadType: type,
    signatures: [{ keyid, sig: sign('sha256', pae(type, payload), privateKey).toString('base64') }],
  };
}

/**
 * Checks that one of the signatures is of one of the keys. The names of keys in an envelope are not signed and count for
 * nothing. Whether the payload's type is the one that is expected is the caller's to check.
 * @returns the bytes that were signed; undefined when no signature is good, or it is no envelope.
 */
export function verifyEnvelope(envelope: Envelope, keys: readonly KeyObject[]): Buffer | undefined {
  const payload = fromBase64(envelope.payload);
  if (!payload || envelope.signatures.length > signatureLimit) return undefined;
  const signed = pae(envelope.payloadType, payload);
  const isGood = ({ sig }: { sig: string }) => {
    const signature = fromBase64(sig);
    return signature !== undefined && keys.some((key) => isSigned(signed, signature, key));
  };
  return envelope.signatures.some(isGood) ? payload : undefined;
}

/** Either alphabet, as DSSE has it; undefined for what is neither. */
function fromBase64(text: string): Buffer | undefined {
  const body = text.replace(/={0,2}$/, '');
  const isOne = /^(?:[A-Za-z0-9+/]*|[\w-]*)$/.test(body) && body.length % 4 !== 1;
  return isOne ? Buffer.from(body, 'base64') : undefined;
}
