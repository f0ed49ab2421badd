import { createCipheriv, createDecipheriv, hash, randomBytes } from 'node:crypto';

/** Keeps secrets so that only who has the master key can read them. */
export interface Sealer {
  /** @param purpose what it is for, such as `pairing:…`; it opens under the same purpose only. */
  seal(secret: string, purpose: string): string;
  /** @returns undefined when it was sealed with a key that is not here, for another purpose, or was altered. */
  open(sealed: string, purpose: string): string | undefined;
  /** The same secret under the present key. @returns undefined when it is so already, or can't be opened. */
  reseal(sealed: string, purpose: string): string | undefined;
}

const algorithm = 'aes-256-gcm';
const ivLength = 12;
const tagLength = 16;

/**
 * AES-256-GCM. A sealed text is `v1.<name of the key>.<base64url of IV, tag and data>`; the name is the start of the
 * key's hash, so that one of several keys is found without trying.
 * @param keys 32 bytes each; the first seals, all open.
 */
export function createSealer(keys: readonly Buffer[]): Sealer {
  const byName = new Map(keys.map((key) => [hash('sha256', key, 'hex').slice(0, 8), key]));
  const [current] = byName;
  if (!current) throw new Error('A sealer needs a key.');
  const [name, key] = current;
  const sealer: Sealer = {
    seal(secret, purpose) {
      const iv = randomBytes(ivLength);
      const cipher = createCipheriv(algorithm, key, iv).setAAD(Buffer.from(purpose));
      const data = Buffer.concat([cipher.update(secret, 'utf8'), cipher.final()]);
      return `v1.${name}.${Buffer.concat([iv, cipher.getAuthTag(), data]).toString('base64url')}`;
    },
    open(sealed, purpose) {
      const [version, named = '', body = ''] = sealed.split('.');
      const opener = byName.get(named);
      const bytes = Buffer.from(body, 'base64url');
      if (version !== 'v1' || !opener || bytes.length < ivLength + tagLength) return undefined;
      const decipher = createDecipheriv(algorithm, opener, bytes.subarray(0, ivLength), {
        authTagLength: tagLength,
      });
      decipher.setAAD(Buffer.from(purpose)).setAuthTag(bytes.subarray(ivLength, ivLength + tagLength));
      try {
        return Buffer.concat([
          decipher.update(bytes.subarray(ivLength + tagLength)),
          decipher.final(),
        ]).toString('utf8');
      } catch {
        return undefined;
      }
    },
    reseal(sealed, purpose) {
      if (sealed.split('.')[1] === name) return undefined;
      const secret = sealer.open(sealed, purpose);
      return secret === undefined ? undefined : sealer.seal(secret, purpose);
    },
  };
  return sealer;
}
