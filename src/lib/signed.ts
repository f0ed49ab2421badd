import { constants, createPublicKey, type KeyObject, verify } from 'node:crypto';

// What cosign and Sigstore sign with: "Algorithm Registry" of sigstore/architecture-docs. cosign with a key hashes with SHA-256
// whatever the curve is, so both are tried: neither is weak.
const curves: Record<string, string[]> = {
  prime256v1: ['sha256'],
  secp384r1: ['sha384', 'sha256'],
  secp521r1: ['sha512', 'sha256'],
};
const shortestRsa = 2048;

/**
 * Reads every public key of a PEM file (`PUBLIC KEY`, or `RSA PUBLIC KEY`): ECDSA on P-256, P-384 or P-521, Ed25519, RSA.
 * @throws Error that says, as what follows the file's name in a sentence, why these are no keys to check with.
 */
export function readPublicKeys(pem: string): KeyObject[] {
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem))
    throw new Error('holds a private key; name the public one, and keep the private one elsewhere');
  const blocks = pem.match(/-----BEGIN (RSA )?PUBLIC KEY-----[^-]+-----END \1?PUBLIC KEY-----/g) ?? [];
  if (blocks.length === 0) throw new Error('holds no public key in PEM');
  return blocks.map((block) => {
    let key: KeyObject;
    try {
      key = createPublicKey(block);
    } catch {
      throw new Error('holds a public key that can not be read');
    }
    const { namedCurve = '', modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
    const known =
      key.asymmetricKeyType === 'ed25519' ||
      (key.asymmetricKeyType === 'ec' && namedCurve in curves) ||
      (key.asymmetricKeyType === 'rsa' && modulusLength >= shortestRsa);
    if (!known)
      throw new Error(
        'holds a key of another kind than ECDSA (P-256, P-384, P-521), Ed25519 and RSA (2048 or more)',
      );
    return key;
  });
}

/** Whether a key has signed bytes: ECDSA (in DER), Ed25519, or RSA with PKCS #1 v1.5 and SHA-256. */
export function isSigned(bytes: Uint8Array, signature: Uint8Array, key: KeyObject): boolean {
  const { namedCurve = '' } = key.asymmetricKeyDetails ?? {};
  try {
    switch (key.asymmetricKeyType) {
      case 'ed25519':
        return verify(undefined, bytes, key, signature);
      case 'ec':
        return (curves[namedCurve] ?? []).some((hash) => verify(hash, bytes, key, signature));
      case 'rsa':
        return verify('sha256', bytes, { key, padding: constants.RSA_PKCS1_PADDING }, signature);
      default:
        return false;
    }
  } catch {
    // A signature that is none.
    return false;
  }
}
