import {
  constants,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  privateDecrypt,
} from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { sealPacket } from '../fixtures/packet.ts';

interface Vector {
  name: string;
  /** No credential can be had from it. */
  broken?: true;
  /** PKCS#8, PEM. */
  privateKey: string;
  /** X.509 SubjectPublicKeyInfo, base64. */
  publicKey: string;
  packet: string;
  /** What was encrypted, also where the packet was broken afterwards. */
  plain: string;
}

const vectors = JSON.parse(
  readFileSync(new URL('packets.json', import.meta.url), 'utf8'),
) as readonly Vector[];

/** The document's recipe, step by step. @throws Error where a step fails. */
function openPacket(packet: string, privateKey: string): Record<string, unknown> {
  const [version, kind, key = '', data = '', ...more] = packet.split('\\');
  if (version !== '1' || kind !== 'P' || more.length > 0) throw new Error('no packet');
  const padding = constants.RSA_PKCS1_PADDING;
  const session = privateDecrypt({ key: privateKey, padding }, Buffer.from(key, 'base64'));
  const cipher = createDecipheriv('aes-128-ecb', session, null);
  const plain = Buffer.concat([cipher.update(Buffer.from(data, 'base64')), cipher.final()]);
  return JSON.parse(plain.toString('utf8')) as Record<string, unknown>;
}

/** Tells whether it is one of the three that Dray can use. */
function isUsable({ discriminator, ...fields }: Record<string, unknown>): boolean {
  const all = (...names: string[]) => names.every((name) => typeof fields[name] === 'string');
  if (discriminator === 'container-reg') return all('userName', 'password');
  return discriminator === 'aws' && (all('accessKey', 'secretKey') || all('assumeRoleArn', 'externalId'));
}

describe('the packets that Java has made', () => {
  it.each(vectors.filter(({ broken }) => !broken))('open by the document: $name', (vector) => {
    const fields = openPacket(vector.packet, vector.privateKey);
    expect(fields).toEqual(JSON.parse(vector.plain));
    expect(isUsable(fields)).toBe(true);
  });

  it.each(vectors.filter(({ broken }) => broken))('are of no use when broken: $name', (vector) => {
    const use = () => {
      if (!isUsable(openPacket(vector.packet, vector.privateKey))) throw new Error('no login');
    };
    expect(use).toThrow();
  });

  it('come with the public key of each private one', () => {
    for (const { privateKey, publicKey } of vectors) {
      const own = createPublicKey(createPrivateKey(privateKey)).export({ type: 'spki', format: 'der' });
      expect(own.toString('base64')).toBe(publicKey);
    }
  });

  it('open just as those of our own stand-in do', () => {
    const pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const pem = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    for (const { plain } of vectors.filter(({ broken }) => !broken))
      expect(openPacket(sealPacket(pair.publicKey, plain), pem)).toEqual(JSON.parse(plain));
  });
});
