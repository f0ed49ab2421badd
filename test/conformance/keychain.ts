import { describe, expect, it } from 'vitest';
import type { Credential } from '../../src/core/credential.ts';
import type { Keychain } from '../../src/keychain/keychain.ts';

/** Logins that a keychain of fixed logins must have been given. */
export const known: Record<string, Credential> = {
  'docker.io': { username: 'hub', password: 'a:b c' },
  'localhost:5000': { username: 'local', password: 'pässwörd' },
};

/** What every keychain must do. @param logins those that it was given, by host. */
export function describeKeychain(
  name: string,
  create: () => Promise<Keychain>,
  logins: Record<string, Credential> = known,
): void {
  describe(`${name} keychain`, () => {
    const signal = new AbortController().signal;
    const hosts = Object.keys(logins);

    it.each(Object.entries(logins))('has the login of %s', async (registry, credential) => {
      expect(await (await create()).resolve({ registry, path: 'a/b' }, signal)).toEqual(credential);
    });

    it.each([
      ...['quay.io', 'localhost', 'localhost:50', '__proto__', 'constructor'],
      ...hosts.flatMap((host) => [`${host}.example.com`, `a.${host}`]),
    ])('says of %s that it is not its own', async (registry) => {
      const keychain = await create();
      expect(await keychain.resolve({ registry, path: 'a/b' }, signal)).toBeUndefined();
      expect((await keychain.prepare?.({ registry, path: 'a/b' }, signal)) ?? false).toBe(false);
    });

    it('gives many who ask at once the same answer', async () => {
      const keychain = await create();
      const [registry = ''] = hosts;
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => keychain.resolve({ registry, path: 'a/b' }, signal)),
      );
      expect(new Set(answers.map((credential) => JSON.stringify(credential))).size).toBe(1);
    });
  });
}
