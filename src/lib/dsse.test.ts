import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Envelope, pae, signEnvelope, verifyEnvelope } from './dsse.ts';

const payloadType = 'application/vnd.in-toto+json';
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const payload = Buffer.from('{"a":1}');
const envelope = signEnvelope(payload, payloadType, { keyid: 'k1', privateKey: pair.privateKey });

describe('the vector of the DSSE specification', () => {
  const hello = Buffer.from('hello world');
  const helloType = 'http://example.com/HelloWorld';
  const coordinate = (decimal: bigint) =>
    Buffer.from(decimal.toString(16).padStart(64, '0'), 'hex').toString('base64url');
  const publicKey = createPublicKey({
    format: 'jwk',
    key: {
      kty: 'EC',
      crv: 'P-256',
      x: coordinate(46950820868899156662930047687818585632848591499744589407958293238635476079160n),
      y: coordinate(5640078356564379163099075877009565129882514886557779369047442380624545832820n),
    },
  });
  // The specification writes r and s behind each other, every library DER.
  const raw = Buffer.from(
    'A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==',
    'base64',
  );
  const integer = (bytes: Buffer) => Buffer.concat([Buffer.from([2, bytes.length]), bytes]);
  const body = Buffer.concat([integer(raw.subarray(0, 32)), integer(raw.subarray(32))]);
  const der = Buffer.concat([Buffer.from([0x30, body.length]), body]);

  it('is encoded and accepted', () => {
    expect(pae(helloType, hello).toString()).toBe('DSSEv1 29 http://example.com/HelloWorld 11 hello world');
    const known = {
      payload: 'aGVsbG8gd29ybGQ=',
      payloadType: helloType,
      signatures: [{ sig: der.toString('base64') }],
    };
    expect(verifyEnvelope(known, [publicKey])).toEqual(hello);
    expect(verifyEnvelope({ ...known, payload: 'aGVsbG8gd29ybGR=' }, [publicKey])).toEqual(hello);
    expect(verifyEnvelope({ ...known, payload: 'aGVsbG8gd29ybGU=' }, [publicKey])).toBeUndefined();
  });
});

describe('an envelope', () => {
  it('counts bytes, not characters', () => {
    expect(pae('ü', Buffer.from('é')).toString()).toBe('DSSEv1 2 ü 2 é');
    expect(pae('', Buffer.alloc(0)).toString()).toBe('DSSEv1 0  0 ');
  });

  it('gives back any bytes that were signed, in either alphabet, and is good for its key alone', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.string({ unit: 'grapheme' }), (bytes, type) => {
        const signed = signEnvelope(bytes, type, { keyid: 'k', privateKey: pair.privateKey });
        expect(verifyEnvelope(signed, [other.publicKey, pair.publicKey])).toEqual(Buffer.from(bytes));
        const urlSafe = {
          ...signed,
          payload: signed.payload.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', ''),
        };
        expect(verifyEnvelope(urlSafe, [pair.publicKey])).toEqual(Buffer.from(bytes));
        expect(verifyEnvelope(signed, [other.publicKey])).toBeUndefined();
      }),
      { numRuns: 50 },
    );
  });

  it('is refused when any bit of payload or signature was changed, or its type', () => {
    const flip = (text: string, at: number) => {
      const bytes = Buffer.from(text, 'base64');
      const index = at % (bytes.length * 8);
      bytes.writeUInt8(bytes.readUInt8(index >> 3) ^ (1 << (index & 7)), index >> 3);
      return bytes.toString('base64');
    };
    const [{ sig }] = envelope.signatures as [{ sig: string }];
    fc.assert(
      fc.property(fc.nat(), (at) => {
        const changed: Envelope[] = [
          { ...envelope, payload: flip(envelope.payload, at) },
          { ...envelope, signatures: [{ sig: flip(sig, at) }] },
        ];
        for (const each of changed) expect(verifyEnvelope(each, [pair.publicKey])).toBeUndefined();
      }),
    );
    for (const type of ['', `${payloadType} `, 'application/json'])
      expect(verifyEnvelope({ ...envelope, payloadType: type }, [pair.publicKey])).toBeUndefined();
  });

  it('needs one good signature, whatever stands beside it and whatever name it has', () => {
    const good = { ...(envelope.signatures[0] as { sig: string }), keyid: 'another' };
    const signatures = [{ sig: '' }, { sig: 'no base64!' }, { sig: 'AAAA' }, good];
    expect(verifyEnvelope({ ...envelope, signatures }, [pair.publicKey])).toEqual(payload);
    expect(verifyEnvelope({ ...envelope, signatures: [] }, [pair.publicKey])).toBeUndefined();
    expect(verifyEnvelope(envelope, [])).toBeUndefined();
    const many = [...Array.from({ length: 100 }, () => ({ sig: 'AAAA' })), good];
    expect(verifyEnvelope({ ...envelope, signatures: many }, [pair.publicKey])).toBeUndefined();
  });

  it.each(['no base64!', 'A', 'ab+_', 'QQ===', 'Q Q='])('is none with the payload %j', (text) => {
    expect(verifyEnvelope({ ...envelope, payload: text }, [pair.publicKey])).toBeUndefined();
  });

  it('may be signed with Ed25519, P-384 and RSA, and with nothing else', () => {
    const signed = pae(payloadType, payload);
    const check = (publicKey: KeyObject, sig: Buffer) =>
      verifyEnvelope({ ...envelope, signatures: [{ sig: sig.toString('base64') }] }, [publicKey]);
    const ed = generateKeyPairSync('ed25519');
    expect(check(ed.publicKey, sign(null, signed, ed.privateKey))).toEqual(payload);
    expect(check(ed.publicKey, sign('sha256', signed, pair.privateKey))).toBeUndefined();
    const wide = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    expect(check(wide.publicKey, sign('sha256', signed, wide.privateKey))).toEqual(payload);
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
    expect(check(rsa.publicKey, sign('sha256', signed, rsa.privateKey))).toEqual(payload);
    expect(check(rsa.publicKey, sign('sha1', signed, rsa.privateKey))).toBeUndefined();
    const dsa = generateKeyPairSync('dsa', { modulusLength: 2048, divisorLength: 256 });
    expect(check(dsa.publicKey, sign('sha256', signed, dsa.privateKey))).toBeUndefined();
  });
});
