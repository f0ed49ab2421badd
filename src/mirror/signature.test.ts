import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  newSigner,
  pushCosignSignature,
  type SignatureForm,
  type SignatureOptions,
  type Signer,
  type SignerKind,
} from '../../test/fixtures/cosign.ts';
import { manifestOf, noiseLayer, oci, push, pushBlob, putManifest } from '../../test/fixtures/image.ts';
import { startRegistry, type TestRegistry } from '../../test/fixtures/registry.ts';
import type { Digest } from '../core/digest.ts';
import { isSigned, readPublicKeys } from '../lib/signed.ts';
import { allowAll } from '../lib/address.ts';
import { createRegistry } from '../registry/client.ts';
import type { Registry } from '../registry/registry.ts';
import { isSignedBundle, isSignedBy, isSignedPayload } from './signature.ts';

let server: TestRegistry;
let registry: Registry;
const signer = newSigner();
const stranger = newSigner();
const keysOf = (...signers: Signer[]) => signers.flatMap(({ publicKeyPem }) => readPublicKeys(publicKeyPem));
const access = { signal: AbortSignal.timeout(60_000) };

beforeAll(async () => {
  server = await startRegistry();
  registry = createRegistry({ hosts: new Map(), proxy: {}, policy: allowAll });
});
afterAll(async () => {
  await registry.close();
  await server.stop();
});

let count = 0;
/** A new image in a repository of its own. */
async function image(): Promise<{ path: string; digest: Digest }> {
  const path = `signed/image-${++count}`;
  const { digest } = await push(server.url, path, '1', manifestOf([noiseLayer(count, 500)]));
  return { path, digest: digest as Digest };
}

const signed = ({ path, digest }: { path: string; digest: Digest }, keys: KeyObject[]) =>
  isSignedBy(keys, registry, { registry: server.host, path }, digest, access);

const forms: SignatureForm[] = ['tag', 'referrer', 'bundle', 'message'];

describe('a signature of cosign', () => {
  it.each(forms)('counts when one of the keys has made it: %s', async (form) => {
    const target = await image();
    expect(await signed(target, keysOf(signer))).toBe(false);
    await pushCosignSignature(server.url, target.path, target.digest, signer, form);
    expect(await signed(target, keysOf(signer))).toBe(true);
    expect(await signed(target, keysOf(stranger, signer))).toBe(true);
    expect(await signed(target, keysOf(stranger))).toBe(false);
    expect(await signed(target, [])).toBe(false);
  });

  it.each<SignerKind>(['P-256', 'P-384', 'ed25519', 'rsa'])('may be made with %s', async (kind) => {
    const other = newSigner(kind);
    for (const form of forms) {
      const target = await image();
      await pushCosignSignature(server.url, target.path, target.digest, other, form);
      expect([form, await signed(target, keysOf(other))]).toEqual([form, true]);
      expect([form, await signed(target, keysOf(newSigner(kind)))]).toEqual([form, false]);
    }
  });

  it.each<[SignatureForm, string, SignatureOptions]>([
    ['tag', 'another digest', { claimed: `sha256:${'b'.repeat(64)}` }],
    ['referrer', 'another digest', { claimed: `sha256:${'b'.repeat(64)}` }],
    ['bundle', 'another digest', { claimed: `sha256:${'b'.repeat(64)}` }],
    ['message', 'other bytes', { tamper: (bytes) => Buffer.concat([bytes, Buffer.from(' ')]) }],
    ['tag', 'something else than an image', { type: 'atomic container signature' }],
    ['bundle', 'a provenance', { type: 'https://slsa.dev/provenance/v1' }],
    ['tag', 'a payload that was changed', { tamper: (payload) => Buffer.from(`${payload.toString()} `) }],
    [
      'referrer',
      'a payload that was changed',
      { tamper: (payload) => Buffer.from(`${payload.toString()} `) },
    ],
    [
      'bundle',
      'a statement that was changed',
      { tamper: (payload) => Buffer.from(`${payload.toString()} `) },
    ],
  ])('does not count when it is of something else: %s, %s', async (form, _, options) => {
    const target = await image();
    await pushCosignSignature(server.url, target.path, target.digest, signer, form, options);
    expect(await signed(target, keysOf(signer))).toBe(false);
    // It does not hide a good one beside it either.
    await pushCosignSignature(server.url, target.path, target.digest, signer, form);
    expect(await signed(target, keysOf(signer))).toBe(true);
  });

  it('of one image does not count for another that it was copied beside', async () => {
    const [one, two] = [await image(), await image()];
    await pushCosignSignature(server.url, one.path, one.digest, signer, 'tag');
    const name = `${one.digest.replace(':', '-')}.sig`;
    const repository = { registry: server.host, path: one.path };
    const holder = await registry.manifest({ ...repository, tag: name }, access);
    const { config, layers } = JSON.parse(Buffer.from(holder?.bytes ?? []).toString()) as {
      config: { digest: Digest };
      layers: { digest: Digest }[];
    };
    for (const { digest } of [config, ...layers]) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of await registry.blob(repository, digest, access)) chunks.push(chunk);
      await pushBlob(server.url, two.path, { mediaType: '', digest, bytes: Buffer.concat(chunks) });
    }
    const moved = { mediaType: oci.manifest, digest: '', bytes: holder?.bytes ?? new Uint8Array() };
    await putManifest(server.url, two.path, `${two.digest.replace(':', '-')}.sig`, moved);
    expect(await signed(one, keysOf(signer))).toBe(true);
    expect(await signed(two, keysOf(signer))).toBe(false);
  });

  it('that is no JSON, or no signature, counts for nothing', async () => {
    const digest: Digest = `sha256:${'c'.repeat(64)}`;
    const nothing = () => Promise.resolve(undefined);
    for (const text of [
      '',
      'null',
      '[]',
      '{}',
      '{"dsseEnvelope": {}}',
      '{"messageSignature": {"signature": 1}}',
    ]) {
      const bytes = Buffer.from(text);
      expect(isSignedPayload(bytes, signer.sign(bytes).toString('base64'), digest, keysOf(signer))).toBe(
        false,
      );
      expect(isSignedPayload(bytes, '§§§', digest, keysOf(signer))).toBe(false);
      expect(await isSignedBundle(bytes, digest, nothing, keysOf(signer))).toBe(false);
    }
  });
});

it('takes what was signed over the hash that Sigstore has for a curve, too', () => {
  const bytes = Buffer.from('signed');
  for (const [namedCurve, hash] of [
    ['P-384', 'sha384'],
    ['P-521', 'sha512'],
  ] as const) {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve });
    expect(isSigned(bytes, sign(hash, bytes, privateKey), publicKey)).toBe(true);
    expect(isSigned(bytes, sign('sha256', bytes, privateKey), publicKey)).toBe(true);
    expect(isSigned(bytes, sign('sha1', bytes, privateKey), publicKey)).toBe(false);
  }
});

describe('readPublicKeys', () => {
  it('reads every key of a file', () => {
    const all = [signer, stranger].map(({ publicKeyPem }) => `# a name\n${publicKeyPem}`).join('\n');
    expect(readPublicKeys(all)).toHaveLength(2);
  });

  it.each([
    ['', 'holds no public key'],
    ['-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n', 'can not be read'],
    [
      generateKeyPairSync('x25519').publicKey.export({ type: 'spki', format: 'pem' }) as string,
      'another kind',
    ],
    [
      generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({
        type: 'spki',
        format: 'pem',
      }) as string,
      'another kind',
    ],
    ['-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n', 'holds a private key'],
  ])('refuses what can not be checked with', (pem, why) => {
    expect(() => readPublicKeys(pem)).toThrow(why);
  });
});
