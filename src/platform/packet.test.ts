import { constants, createCipheriv, generateKeyPairSync, publicEncrypt, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MirrorError } from '../core/errors.ts';
import { canDecrypt, openPacket } from './packet.ts';

const pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
const other = generateKeyPairSync('rsa', { modulusLength: 2048 });

/** As Java's Cipher.getInstance("RSA") and ("AES") make it. */
function seal(
  plain: string | Buffer,
  { key = randomBytes(16), publicKey = pair.publicKey, padding = true } = {},
) {
  const cipher = createCipheriv(`aes-${key.length * 8}-ecb`, key, null).setAutoPadding(padding);
  const data = Buffer.concat([cipher.update(plain), cipher.final()]);
  const sealedKey = publicEncrypt({ key: publicKey, padding: constants.RSA_PKCS1_PADDING }, key);
  return ['1', 'P', sealedKey.toString('base64'), data.toString('base64')].join('\\');
}
const sealed = (value: unknown) => seal(JSON.stringify(value));

/** What it throws, in full. */
function faultOf(packet: string): unknown {
  try {
    return openPacket(packet, pair.privateKey);
  } catch (error) {
    if (!(error instanceof MirrorError)) throw error;
    return { ...error.toFailure(), cause: error.cause };
  }
}
const unreadable = {
  code: 'credential_unreadable',
  message: 'A credential from Seqera Platform can not be read.',
  remedy: expect.any(String) as string,
  retryable: false,
  cause: undefined,
};

describe('a packet', () => {
  it.each([
    [
      { discriminator: 'container-reg', userName: 'ü', password: 'pä\\ß', registry: 'quay.io' },
      { kind: 'container-reg', userName: 'ü', password: 'pä\\ß', registry: 'quay.io' },
    ],
    [
      { discriminator: 'container-reg', userName: 'u', password: 'p', registry: null, more: { a: 1 } },
      { kind: 'container-reg', userName: 'u', password: 'p' },
    ],
    [
      { discriminator: 'container-reg', userName: 'arn:aws:iam::1:role/a', password: null },
      { kind: 'container-reg', userName: 'arn:aws:iam::1:role/a', password: '' },
    ],
    [
      { discriminator: 'aws', accessKey: 'AKIA', secretKey: 's', assumeRoleArn: null },
      { kind: 'aws', accessKey: 'AKIA', secretKey: 's' },
    ],
    [
      { discriminator: 'aws', assumeRoleArn: 'arn:aws:iam::1:role/a', externalId: 'e' },
      { kind: 'aws', assumeRoleArn: 'arn:aws:iam::1:role/a', externalId: 'e' },
    ],
  ])('gives what was put in: %j', (value, keys) => {
    expect(openPacket(sealed(value), pair.privateKey)).toEqual(keys);
  });

  it('gives any user name and password, whatever their length and script', () => {
    const text = fc.string({ unit: 'binary', minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(text, text, (userName, password) => {
        const packet = sealed({ discriminator: 'container-reg', userName, password });
        expect(openPacket(packet, pair.privateKey)).toEqual({ kind: 'container-reg', userName, password });
      }),
      { numRuns: 50 },
    );
  });

  const good = { discriminator: 'container-reg', userName: 'u', password: 'p' };
  const parts = sealed(good).split('\\');
  const [, , key = '', data = ''] = parts;
  /** The good text in whole blocks, with these bytes at its end. */
  const ending = (...bytes: number[]) => {
    const text = JSON.stringify(good).padEnd(96 - bytes.length, ' ');
    return seal(Buffer.concat([Buffer.from(text), Buffer.from(bytes)]), { padding: false });
  };
  it.each<[string, string]>([
    ['nothing', ''],
    ['another version', ['2', 'P', key, data].join('\\')],
    ['another mode', ['1', 'S', key, data].join('\\')],
    ['three parts', ['1', 'P', key].join('\\')],
    ['five parts', [...parts, 'x'].join('\\')],
    ['no base64', ['1', 'P', `${key}*`, data].join('\\')],
    ['a key of the wrong length', ['1', 'P', 'AAAA', data].join('\\')],
    ['a key above the modulus', ['1', 'P', Buffer.alloc(256, 255).toString('base64'), data].join('\\')],
    ['a key of zeros', ['1', 'P', Buffer.alloc(256).toString('base64'), data].join('\\')],
    ['half a block', ['1', 'P', key, Buffer.alloc(24).toString('base64')].join('\\')],
    ['a key under another pair', seal(JSON.stringify(good), { publicKey: other.publicKey })],
    ['an AES-256 session key', seal(JSON.stringify(good), { key: randomBytes(32) })],
    ['no padding', ending()],
    ['a padding of 0', ending(0)],
    ['a padding of 17', ending(...Array<number>(17).fill(17))],
    ['a padding with a wrong byte', ending(2, 3, 3)],
    ['an empty text', seal('')],
    ['no JSON', seal('{')],
    ['broken UTF-8', seal(Buffer.from(JSON.stringify({ ...good, password: '\xff' }), 'latin1'))],
    ['null', sealed(null)],
    ['a list', sealed([good])],
    ['another discriminator', sealed({ ...good, discriminator: 'google' })],
    ['no discriminator', sealed({ userName: 'u', password: 'p' })],
    ['no user', sealed({ ...good, userName: null })],
    ['a number for a password', sealed({ ...good, password: 1 })],
    ['AWS keys without anything', sealed({ discriminator: 'aws' })],
    ['half of AWS keys', sealed({ discriminator: 'aws', accessKey: 'a' })],
    ['more than the limit', sealed({ ...good, password: 'p'.repeat(64 * 1024) })],
  ])('with %s is unreadable, and does not tell why', (_, packet) => {
    expect(faultOf(packet)).toEqual(unreadable);
  });

  it('may have any padding from 1 to 16', () => {
    for (let count = 1; count <= 16; count++)
      expect(openPacket(ending(...Array<number>(count).fill(count)), pair.privateKey).kind).toBe(
        'container-reg',
      );
  });

  it('that was altered anywhere in its key or data never throws anything else', () => {
    const bytes = { key: Buffer.from(key, 'base64'), data: Buffer.from(data, 'base64') };
    const where = fc.constantFrom<'key' | 'data'>('key', 'data');
    fc.assert(
      fc.property(where, fc.nat(255), fc.integer({ min: 1, max: 255 }), (part, at, by) => {
        const altered = { key: Buffer.from(bytes.key), data: Buffer.from(bytes.data) };
        const buffer = altered[part];
        const index = at % buffer.length;
        buffer[index] = (buffer[index] ?? 0) ^ by;
        const packet = ['1', 'P', altered.key.toString('base64'), altered.data.toString('base64')].join('\\');
        expect(faultOf(packet)).toEqual(unreadable);
      }),
      { numRuns: 200 },
    );
  });

  it('that is any text never throws anything else', () => {
    const part = fc.oneof(fc.string(), fc.base64String(), fc.constantFrom('1', 'P', key, data));
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), (texts) => {
        const packet = texts.join('\\');
        fc.pre(packet !== parts.join('\\'));
        expect(faultOf(packet)).toEqual(unreadable);
      }),
    );
  });

  it('can be decrypted by this Node', async () => {
    expect(await canDecrypt()).toBe(true);
  });
});
