import { z } from 'zod';
import { isDigest } from '../core/digest.ts';

/** Media types: of the envelope, and of what is signed in it (in-toto attestation framework, v1). */
export const envelopeType = 'application/vnd.dsse.envelope.v1+json';
export const statementPayload = 'application/vnd.in-toto+json';
export const statementType = 'https://in-toto.io/Statement/v1';
/** What the statement is about. It need not lead anywhere; in another form it gets another number. */
export const predicateType = 'urn:dray:receipt:v1';

export const envelope = z
  .object({
    payload: z.string().describe('The statement (`Receipt`), in base64'),
    payloadType: z.string(),
    signatures: z.array(
      z.object({
        keyid: z.string().optional().describe('SHA-256 of the public key in DER'),
        sig: z.string().describe('ECDSA with P-256 and SHA-256 over the PAE, in DER and base64'),
      }),
    ),
  })
  .meta({ id: 'Envelope' });
export type EnvelopeView = z.infer<typeof envelope>;

const digest = z.string().refine(isDigest, 'is no digest');
const count = z.int().min(0);

/** What was copied: an in-toto statement. */
export const statement = z
  .object({
    _type: z.literal(statementType),
    subject: z.array(
      z.object({
        name: z.string().describe('The target'),
        digest: z.record(z.string(), z.string()).describe('By algorithm, in hex'),
      }),
    ),
    predicateType: z.literal(predicateType),
    predicate: z.object({
      mirror: z.string().describe("The mirror's id"),
      source: z.object({ reference: z.string(), digest }),
      target: z.object({ reference: z.string(), digest }),
      selection: z
        .object({
          platforms: z.array(z.string()).optional().describe('Absent: every one'),
          referrers: z.union([z.enum(['all', 'none']), z.array(z.string())]),
        })
        .describe('What was asked for'),
      referrers: z
        .array(z.object({ digest, subject: digest, artifactType: z.string(), tag: z.string().optional() }))
        .describe('What refers to the image and is at the target too: signatures, SBOMs, attestations'),
      tenant: z.string().describe('Who asked for it'),
      askedAt: z.iso.datetime(),
      startedAt: z.iso.datetime(),
      finishedAt: z.iso.datetime(),
      verification: z
        .object({
          level: z.enum(['manifests', 'blobs', 'full']),
          manifests: count,
          blobs: count,
          bytes: count,
          foreignLayers: z.array(digest).describe('They live elsewhere by design, and were not copied'),
        })
        .describe('How the target was read back, and what it holds'),
      by: z.object({ name: z.literal('dray'), version: z.string(), commit: z.string().optional() }),
    }),
  })
  .meta({ id: 'Receipt' });
export type Statement = z.infer<typeof statement>;

/** A public key of an installation. A JWK (RFC 7517) with a few members more. */
export const receiptKey = z
  .object({
    kty: z.literal('EC'),
    crv: z.literal('P-256'),
    x: z.string(),
    y: z.string(),
    use: z.literal('sig'),
    kid: z.string().describe('SHA-256 of the key in DER, in hex: the `keyid` of a signature'),
    pem: z.string().describe('The same key, as openssl and cosign read it'),
    createdAt: z.iso.datetime(),
    retiredAt: z.iso.datetime().optional().describe('Absent: it is the one that signs'),
  })
  .meta({ id: 'ReceiptKey' });
export type ReceiptKeyView = z.infer<typeof receiptKey>;

export const receiptKeys = z.object({ keys: z.array(receiptKey) }).meta({ id: 'ReceiptKeys' });
export type ReceiptKeysView = z.infer<typeof receiptKeys>;
