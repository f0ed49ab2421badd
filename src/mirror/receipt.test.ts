import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Digest } from '../core/digest.ts';
import { type Arrival, type Mirror, noProgress } from '../core/mirror.ts';
import { type Envelope, signEnvelope } from '../lib/dsse.ts';
import { statementPayload } from '../wire/receipt.ts';
import { checkReceipt, stateMirror } from './receipt.ts';
import { keyIdOf } from './signing.ts';

const digest: Digest = `sha256:${'a'.repeat(64)}`;
const other: Digest = `sha256:${'b'.repeat(64)}`;
const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second));
const mirror: Mirror = {
  id: `mr-${'0'.repeat(32)}`,
  tenant: 'key:key-1',
  source: { registry: 'docker.io', path: 'library/ubuntu', tag: '24.04' },
  target: { registry: 'quay.io', path: 'acme/library/ubuntu', tag: '24.04' },
  digest,
  selection: { platforms: ['linux/amd64'], referrers: 'all' },
  state: 'copying',
  progress: noProgress,
  attempts: 1,
  createdAt: at(1),
  startedAt: at(2),
};
const arrival: Arrival = {
  manifests: 3,
  blobs: 5,
  bytes: 1234,
  foreign: [other],
  referrers: [{ digest: other, subject: digest, artifactType: 'application/spdx+json' }],
  level: 'blobs',
  moved: { blobs: 1, bytes: 1, referrers: 0 },
};
const build = { version: '0.2.0', commitId: '' };
const statement = stateMirror(mirror, arrival, at(3), build);

const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const keyid = keyIdOf(pair.publicKey);
const sign = (payload: unknown, { type = statementPayload, privateKey = pair.privateKey } = {}) =>
  signEnvelope(Buffer.from(JSON.stringify(payload)), type, { keyid, privateKey });
const check = (envelope: unknown, wanted?: Digest) => checkReceipt(envelope, [pair.publicKey], wanted);
const refusal = (message: RegExp) =>
  expect.objectContaining({
    code: 'bad_receipt',
    message: expect.stringMatching(message) as string,
  }) as Error;

describe('a receipt', () => {
  it('states what was copied, from where, when and for whom, and comes back from its envelope as it was', () => {
    expect(statement).toEqual({
      _type: 'https://in-toto.io/Statement/v1',
      subject: [{ name: 'quay.io/acme/library/ubuntu:24.04', digest: { sha256: 'a'.repeat(64) } }],
      predicateType: 'urn:dray:receipt:v1',
      predicate: {
        mirror: mirror.id,
        source: { reference: 'docker.io/library/ubuntu:24.04', digest },
        target: { reference: 'quay.io/acme/library/ubuntu:24.04', digest },
        selection: { platforms: ['linux/amd64'], referrers: 'all' },
        referrers: arrival.referrers,
        tenant: 'key:key-1',
        askedAt: '2026-01-01T00:00:01.000Z',
        startedAt: '2026-01-01T00:00:02.000Z',
        finishedAt: '2026-01-01T00:00:03.000Z',
        verification: { level: 'blobs', manifests: 3, blobs: 5, bytes: 1234, foreignLayers: [other] },
        by: { name: 'dray', version: '0.2.0' },
      },
    });
    expect(check(sign(statement), digest)).toEqual(statement);
    const untagged = stateMirror(mirror, { ...arrival, untagged: true }, at(3), build);
    expect(untagged.predicate.target.reference).toBe(`quay.io/acme/library/ubuntu@${digest}`);
    const built = stateMirror(mirror, arrival, at(3), { ...build, commitId: 'c0ffee' });
    expect(built.predicate.by).toEqual({ name: 'dray', version: '0.2.0', commit: 'c0ffee' });
  });

  it('may be of a digest of any kind', () => {
    const wide: Digest = `sha512:${'c'.repeat(128)}`;
    const stated = stateMirror({ ...mirror, digest: wide }, arrival, at(3), build);
    expect(stated.subject[0]?.digest).toEqual({ sha512: 'c'.repeat(128) });
    expect(check(sign(stated), wide)).toEqual(stated);
  });

  it('is refused when it was altered, when its key is unknown, and when it is of something else', () => {
    const good = sign(statement);
    const altered = { ...good, payload: sign({ ...statement, subject: [] }).payload };
    expect(() => check(altered)).toThrow(refusal(/does not fit/));
    expect(() => check(sign(statement, { privateKey: stranger.privateKey }))).toThrow(
      refusal(/does not fit/),
    );
    expect(() => checkReceipt(good, [stranger.publicKey])).toThrow(refusal(new RegExp(`no key .* ${keyid}`)));
    const escape = { ...good, signatures: [{ keyid: '\u001b[2J\u0000\n', sig: 'AAAA' }] };
    expect(() => checkReceipt(escape, [])).toThrow(refusal(/^It is .* it names  \[2J ?\.$/));
    expect(() => checkReceipt({ ...good, signatures: [{ sig: 'AAAA' }] }, [])).toThrow(refusal(/names none/));
    expect(() => check(good, other)).toThrow(refusal(/is a receipt of sha256:a+, not of sha256:b+/));
  });

  it('is refused when something else was signed with the same key', () => {
    expect(() => check(sign(statement, { type: 'application/json' }))).toThrow(refusal(/is no receipt/));
    expect(() => check(sign({ ...statement, predicateType: 'https://slsa.dev/provenance/v1' }))).toThrow(
      refusal(/is no receipt/),
    );
    const contrary = { ...statement, subject: [{ name: 'x', digest: { sha256: 'b'.repeat(64) } }] };
    expect(() => check(sign(contrary))).toThrow(refusal(/contradicts/));
    const bytes = signEnvelope(Buffer.from([0xff, 0x7b]), statementPayload, {
      keyid,
      privateKey: pair.privateKey,
    });
    expect(() => check(bytes)).toThrow(refusal(/is no receipt/));
  });

  it('is refused whatever stands in its place', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.jsonValue(), fc.record({ payload: fc.string(), payloadType: fc.string() })),
        (any) => {
          expect(() => check(any)).toThrow(refusal(/no DSSE envelope/));
        },
      ),
      { numRuns: 200 },
    );
    const signatures: Envelope['signatures'] = [];
    expect(() => check({ ...sign(statement), signatures })).toThrow(refusal(/no key that is known/));
  });
});
