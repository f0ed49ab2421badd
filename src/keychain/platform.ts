import type { Credential } from '../core/credential.ts';
import type { Grant, PlatformKeys } from '../core/grant.ts';
import type { Repository } from '../core/reference.ts';
import type { CallerKeys } from './aws.ts';
import { awsKeysOf, type Ecr, ecrHost } from './ecr.ts';
import type { Keychain } from './keychain.ts';
import { bestMatch } from './match.ts';

/** What this keychain needs of the platform room; every method throws MirrorError. */
export interface PlatformCredentials {
  /** The container registry credentials that the caller may use; `registry` is a host, or a host and a path. */
  credentials(grant: Grant, signal: AbortSignal): Promise<{ id: string; registry: string }[]>;
  keys(grant: Grant, credentialId: string, signal: AbortSignal): Promise<PlatformKeys>;
  /** The AWS credential of the run's compute environment, if it has one. */
  launchCredential(grant: Grant, signal: AbortSignal): Promise<string | undefined>;
}

/**
 * The logins of one caller of Seqera Platform, from the caller's workspace. On Amazon ECR a credential holds AWS
 * keys, or a role with its external id, in place of user name and password; where there is none, those that launched
 * the run are used.
 */
export function createPlatformKeychain(platform: PlatformCredentials, ecr: Ecr, grant: Grant): Keychain {
  async function keysFor(repository: Repository, signal: AbortSignal): Promise<PlatformKeys | undefined> {
    const list = await platform.credentials(grant, signal);
    const id =
      bestMatch(
        list.map((each) => [each.registry, each.id]),
        repository,
      ) ?? (ecrHost(repository.registry) ? await platform.launchCredential(grant, signal) : undefined);
    return id === undefined ? undefined : platform.keys(grant, id, signal);
  }

  return {
    async resolve(repository, signal): Promise<Credential | undefined> {
      const { registry } = repository;
      const keys = await keysFor(repository, signal);
      const aws = keys && ecrHost(registry) ? awsKeys(keys) : undefined;
      if (aws) return ecr.login(ecr.identityOf(aws, registry), registry, signal);
      return keys?.kind === 'container-reg'
        ? { username: keys.userName, password: keys.password }
        : undefined;
    },
    async prepare(repository, signal) {
      const { registry } = repository;
      if (!ecrHost(registry)) return false;
      const keys = await keysFor(repository, signal);
      const aws = keys && awsKeys(keys);
      if (!aws) return false;
      await ecr.prepare(ecr.identityOf(aws, registry), repository, signal);
      return true;
    },
    prepares: ({ registry }) => ecrHost(registry) !== undefined,
  };
}

/** Undefined: a login as it is, of the user AWS. */
function awsKeys(keys: PlatformKeys): CallerKeys | undefined {
  return keys.kind === 'aws' ? keys : awsKeysOf(keys.userName, keys.password);
}
