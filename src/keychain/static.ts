import type { RegistryEntry } from '../settings.ts';
import type { Keychain } from './keychain.ts';

/** The logins of dray.yaml, by host. */
export function createStaticKeychain(
  entries: readonly RegistryEntry[],
  passwords: ReadonlyMap<string, string>,
): Keychain {
  const usernames = new Map(entries.flatMap(({ host, username }) => (username ? [[host, username]] : [])));
  return {
    async resolve({ registry }) {
      const username = usernames.get(registry);
      const password = passwords.get(registry);
      return username !== undefined && password !== undefined ? { username, password } : undefined;
    },
  };
}
