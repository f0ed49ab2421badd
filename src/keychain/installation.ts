import { type Config, ConfigError } from '../config.ts';
import { isLoopback } from '../core/reference.ts';
import { allowAll } from '../lib/address.ts';
import { createDispatchers, type Dispatchers } from '../lib/http.ts';
import { createAzureKeychain, isAzureHost } from './acr.ts';
import { createDockerConfigKeychain } from './docker-config.ts';
import { createEcr, createEcrKeychain, type Ecr, ecrHost, identityOfEntry } from './ecr.ts';
import { createGoogleKeychain, isGoogleHost } from './gar.ts';
import { chain, type Keychain } from './keychain.ts';
import { createStaticKeychain } from './static.ts';

export interface KeychainOptions {
  /** Only entries that callers of Seqera Platform may use; nothing of Docker's, which are this machine's own. */
  sharedOnly?: boolean;
  /** Shared with others that log in to Amazon ECR, so that what one has made or got serves them all. */
  ecr?: Ecr;
}

/**
 * The installation's logins.
 * @throws ConfigError for a `login` on a host that is not of that cloud: its token would go to a stranger.
 */
export function createKeychain(config: Config, { sharedOnly = false, ecr }: KeychainOptions = {}): Keychain {
  checkLogins(config);
  const entries = config.registries.filter(({ shared }) => !sharedOnly || shared);
  // On a host of ECR, user name and password may be AWS keys, which are no login as they are.
  const plain = entries.filter((entry) => !identityOfEntry(entry, config.passwords.get(entry.host)));
  const dispatchers = createCloudDispatchers(config);
  return chain(
    createStaticKeychain(plain, config.passwords),
    createEcrKeychain(ecr ?? createEcrLogins(config), entries, config.passwords),
    createGoogleKeychain(entries, dispatchers),
    createAzureKeychain(entries, dispatchers),
    ...(typeof config.dockerConfig === 'string' && !sharedOnly
      ? [createDockerConfigKeychain(config.dockerConfig, config.childEnv)]
      : []),
  );
}

/** Logins and repositories on Amazon ECR, the callers' own included. Nothing of AWS is loaded before it is used. */
export function createEcrLogins(config: Config): Ecr {
  return createEcr({
    settings: config.ecr,
    dispatchers: createCloudDispatchers(config),
    reservedRoles: config.registries.flatMap(({ role }) => role ?? []),
  });
}

/** The clouds' APIs: fixed names, which no caller chooses, through the operator's proxy. */
function createCloudDispatchers(config: Config): Dispatchers {
  return createDispatchers({
    hosts: config.hosts,
    proxy: config.proxy,
    policy: allowAll,
    isLocal: isLoopback,
  });
}

function checkLogins({ registries }: Config): void {
  const fits = { aws: ecrHost, google: isGoogleHost, azure: isAzureHost };
  const wrong = registries.find(({ host, login }) => login && !fits[login](host));
  if (wrong)
    throw new ConfigError(
      `registries (${wrong.host}).login: this host is not one of the cloud "${wrong.login}". Correct the host or remove the login.`,
    );
}
