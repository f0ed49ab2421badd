import { describe, expect, it } from 'vitest';
import type { Credential } from '../../src/core/credential.ts';
import type { Keychain } from '../../src/keychain/keychain.ts';

/** Logins that the keychain under test must have been given. */
export const known: Record<string, Credential> = {
  'docker.io': { username: 'hub', password: 'a:b c' },
  'localhost:5000': { username: 'local', password: 'pässwörd' },
};

/** What every keychain must do with {@link known}. */
export function describeKeychain(name: string, create: () => Promise<Keychain>): void {
  describe(`${name} keychain`, () => {
    const signal = new AbortController().signal;

    it.each(Object.entries(known))('has the login of %s', async (registry, credential) => {
      expect(await (await create()).resolve({ registry, path: 'a/b' }, signal)).toEqual(credential);
    });

    it.each([
      'quay.io',
      'localhost',
      'localhost:50',
      'docker.io.example.com',
      'a.docker.io',
      '__proto__',
      'constructor',
    ])('says of %s that it is not its own', async (registry) => {
      expect(await (await create()).resolve({ registry, path: 'a/b' }, signal)).toBeUndefined();
    });
  });
}
