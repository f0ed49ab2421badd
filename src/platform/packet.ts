import {
  constants,
  createDecipheriv,
  generateKeyPair,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
} from 'node:crypto';
import { promisify } from 'node:util';
import { z } from 'zod';
import { MirrorError } from '../core/errors.ts';
import type { PlatformKeys } from '../core/grant.ts';

/** Characters. The largest password in use is a service-account key in JSON, of some 3 kB. */
const packetLimit = 64 * 1024;
const sessionKeyLength = 16;
const blockLength = 16;

/** Java writes an absent member as null. */
const optional = z
  .string()
  .nullish()
  .transform((text) => text || undefined);

const plainKeys = z.discriminatedUnion('discriminator', [
  z.object({
    discriminator: z.literal('container-reg'),
    userName: z.string().min(1),
    password: z
      .string()
      .nullish()
      .transform((text) => text ?? ''),
    registry: optional,
  }),
  z
    .object({
      discriminator: z.literal('aws'),
      accessKey: optional,
      secretKey: optional,
      assumeRoleArn: optional,
      externalId: optional,
    })
    .refine(({ accessKey, secretKey, assumeRoleArn }) => assumeRoleArn ?? (accessKey && secretKey)),
]);

/**
 * Opens `1\P\<base64 key>\<base64 data>`: an AES-128 session key under RSA with PKCS#1 v1.5, and JSON under AES in ECB
 * mode with PKCS#7 padding (libseqera's EncryptedPacket).
 *
 * Whoever can tell a wrong RSA padding from wrong data can have our key decrypt for him, message by message
 * (Bleichenbacher, 1998; Vaudenay for the second padding). So every fault gives the same error, and from the RSA step
 * on every packet takes all the steps: a session key that is none is replaced by a random one.
 * @throws MirrorError `credential_unreadable`, always the same; nothing else, whatever the packet is.
 */
export function openPacket(packet: string, privateKey: KeyObject): PlatformKeys {
  const [version, mode, key, data, ...more] = packet.length > packetLimit ? [] : packet.split('\\');
  const sealedKey = fromBase64(key);
  const sealedData = fromBase64(data);
  // This much the sender sees by himself; no secret has been used yet.
  if (version !== '1' || mode !== 'P' || more.length > 0 || !sealedKey || !sealedData) throw unreadable();
  if (sealedData.length === 0 || sealedData.length % blockLength !== 0) throw unreadable();
  const { text, padded } = openData(sealedData, openSessionKey(sealedKey, privateKey));
  const keys = parse(text);
  if (!padded || !keys) throw unreadable();
  return keys;
}

function openSessionKey(sealed: Buffer, privateKey: KeyObject): Buffer {
  const random = randomBytes(sessionKeyLength);
  try {
    // OpenSSL 3.2 and later (and Node's own builds) give random bytes for a wrong padding ("implicit rejection").
    const opened = privateDecrypt({ key: privateKey, padding: constants.RSA_PKCS1_PADDING }, sealed);
    return opened.length === sessionKeyLength ? opened : random;
  } catch {
    return random;
  }
}

/** PKCS#7 is looked at by hand: OpenSSL would stop at a wrong padding, before the text is read. */
function openData(sealed: Buffer, sessionKey: Buffer): { text: Buffer; padded: boolean } {
  const decipher = createDecipheriv('aes-128-ecb', sessionKey, null).setAutoPadding(false);
  const plain = Buffer.concat([decipher.update(sealed), decipher.final()]);
  const count = plain[plain.length - 1] ?? 0;
  let wrong = Number(count < 1) | Number(count > blockLength);
  for (let i = 1; i <= blockLength; i++)
    wrong |= Number(i <= count) & Number(plain[plain.length - i] !== count);
  return { text: plain.subarray(0, wrong ? plain.length : plain.length - count), padded: wrong === 0 };
}

function parse(bytes: Buffer): PlatformKeys | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    const parsed = plainKeys.safeParse(JSON.parse(text));
    if (!parsed.success) return undefined;
    const { discriminator, ...members } = parsed.data;
    const given = Object.entries(members).filter(([, value]) => value !== undefined);
    return { kind: discriminator, ...Object.fromEntries(given) } as PlatformKeys;
  } catch {
    return undefined;
  }
}

/** Strict, where Buffer takes anything; undefined for what is no base64. */
function fromBase64(text: string | undefined): Buffer | undefined {
  return text && /^[A-Za-z0-9+/]+={0,2}$/.test(text) ? Buffer.from(text, 'base64') : undefined;
}

/** Without a cause: OpenSSL's words tell which step failed. */
function unreadable(): MirrorError {
  return new MirrorError('credential_unreadable', 'A credential from Seqera Platform can not be read.');
}

/**
 * Whether this Node decrypts PKCS#1 v1.5 at all: Node 20 and some builds refuse it (CVE-2023-46809). To be asked at
 * start, or every credential would be unreadable without anybody knowing why.
 */
export async function canDecrypt(): Promise<boolean> {
  // Short, since it is thrown away: what counts is whether the call is allowed.
  const { publicKey, privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 1024 });
  const padding = constants.RSA_PKCS1_PADDING;
  try {
    const sealed = publicEncrypt({ key: publicKey, padding }, Buffer.from('probe'));
    return privateDecrypt({ key: privateKey, padding }, sealed).toString() === 'probe';
  } catch {
    return false;
  }
}
