import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Credential } from '../core/credential.ts';
import { MirrorError } from '../core/errors.ts';
import { formatRepository, type Repository } from '../core/reference.ts';
import { fingerprint } from '../lib/fingerprint.ts';
import type { Dispatchers } from '../lib/http.ts';
import { beforeEnd, createLeases } from '../lib/lease.ts';
import type { RegistryEntry, Settings } from '../settings.ts';
import { type AwsIdentity, awsPatience, type CallerKeys, createAws, identityOfCaller } from './aws.ts';
import { classifyAwsError } from './aws-errors.ts';
import { type EcrApi, isMissing, isThere, openPrivate, openPublic } from './ecr-api.ts';
import type { Keychain } from './keychain.ts';
import { inTime } from './outage.ts';

/** What the name of a registry on Amazon ECR says. */
export type EcrHost =
  | { public: false; account: string; region: string; fips: boolean }
  // Its registries have no hosts of their own, and no account in the name.
  | { public: true; account?: undefined; region: string; fips: false };

// Amazon ECR user guide, "Private registry" and "IPv6 and dual-stack endpoints"; the ends are those of the partitions.
const classic = /^([0-9]{12})\.dkr\.ecr(-fips)?\.([a-z]+(?:-[a-z]+)+-[0-9]+)\.amazonaws\.(?:com|com\.cn|eu)$/;
const dualStack =
  /^([0-9]{12})\.dkr-ecr(-fips)?\.([a-z]+(?:-[a-z]+)+-[0-9]+)\.on\.(?:aws|amazonwebservices\.com\.cn)$/;

/** Reads a registry host; undefined when it is none of Amazon ECR. */
export function ecrHost(host: string): EcrHost | undefined {
  // The API of ECR Public is in this region only.
  if (host === 'public.ecr.aws' || host === 'ecr-public.aws.com')
    return { region: 'us-east-1', public: true, fips: false };
  const [, account, fips, region] = classic.exec(host) ?? dualStack.exec(host) ?? [];
  return account && region ? { account, region, public: false, fips: fips !== undefined } : undefined;
}

/**
 * The AWS credential that a user name and a password stand for on an ECR host, where Seqera Platform and people write
 * access key and secret key, or the ARN of a role and its external id. Undefined: a login as it is, of the user AWS.
 */
export function awsKeysOf(username: string, password: string): CallerKeys | undefined {
  if (username === 'AWS') return undefined;
  if (username.startsWith('arn:'))
    return { assumeRoleArn: username, ...(password && { externalId: password }) };
  return { accessKey: username, secretKey: password };
}

/** Logins and repositories on Amazon ECR, for whoever can prove an AWS identity. */
export interface Ecr {
  /**
   * The identity behind a caller's credential.
   * @throws MirrorError `credentials_rejected` for one that can't work or must not.
   */
  identityOf(given: CallerKeys, host: string): AwsIdentity;
  /** @param host one that {@link ecrHost} knows. @throws MirrorError */
  login(identity: AwsIdentity, host: string, signal: AbortSignal): Promise<Credential>;
  /** Makes the repository unless it is there; once, however many ask. @throws MirrorError */
  prepare(identity: AwsIdentity, repository: Repository, signal: AbortSignal): Promise<void>;
}

export interface EcrOptions {
  settings: Settings['ecr'];
  dispatchers: Dispatchers;
  /** Roles that callers must not name: those of dray.yaml, which are used for its own entries only. */
  reservedRoles?: readonly string[];
}

/** A login is about 3 kB. */
const loginLimit = 2000;
const repositoryLimit = 10_000;
/** Milliseconds for which a repository is believed to be there: one that was removed is made again after that. */
const repositoryAge = 5 * 60_000;
/** Of nothing; asked for where only the answer "there is no such repository" matters. */
const emptyDigest = `sha256:${createHash('sha256').digest('hex')}`;

export function createEcr({ settings, dispatchers, reservedRoles = [] }: EcrOptions): Ecr {
  const aws = createAws(dispatchers);
  const logins = createLeases<Credential>({ limit: loginLimit, patience: awsPatience });
  const repositories = createLeases<boolean>({ limit: repositoryLimit, patience: awsPatience });
  /** Made by us, with a lifecycle policy still to be set. */
  const unfinished = new Set<string>();

  async function open(identity: AwsIdentity, host: string, subject: string, signal: AbortSignal) {
    const named = ecrHost(host);
    if (!named) throw new MirrorError('internal', `${host} is no host of Amazon ECR.`);
    const options = await aws.options(identity, named.region, subject, signal);
    return named.public ? openPublic(options) : openPrivate(options, named, settings);
  }

  /** Makes one call and says what its failure means. */
  async function ask<T>(api: EcrApi, action: string, subject: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw classifyAwsError(error, { action: `${api.service}:${action}`, subject });
    }
  }

  /** The same, of a call that has one failure which is an answer: false. */
  async function askWhether(
    api: EcrApi,
    action: string,
    subject: string,
    isNo: (error: unknown) => boolean,
    work: () => Promise<unknown>,
  ): Promise<boolean> {
    return ask(api, action, subject, async () => {
      try {
        await work();
        return true;
      } catch (error) {
        if (isNo(error)) return false;
        throw error;
      }
    });
  }

  async function fetchLogin(identity: AwsIdentity, host: string, signal: AbortSignal) {
    const api = await open(identity, host, host, signal);
    try {
      const { token, end } = await ask(api, 'GetAuthorizationToken', host, () => api.authorize(signal));
      const decoded = Buffer.from(token ?? '', 'base64').toString('utf8');
      const colon = decoded.indexOf(':');
      if (colon < 1) throw new MirrorError('registry_unavailable', `AWS gave no login for ${host}.`);
      const value = { username: decoded.slice(0, colon), password: decoded.slice(colon + 1) };
      return { value, expires: beforeEnd(end?.getTime() ?? 0) };
    } finally {
      api.close();
    }
  }

  /**
   * Whether it is there. Who may push need not be allowed to describe (AWS's own example policies for pushing are not),
   * but must be to ask for layers, which tells as well.
   */
  async function exists(api: EcrApi, path: string, subject: string, signal: AbortSignal): Promise<boolean> {
    try {
      return await askWhether(api, 'DescribeRepositories', subject, isMissing, () =>
        api.describe(path, signal),
      );
    } catch (error) {
      if (!(error instanceof MirrorError) || error.code !== 'denied') throw error;
      return askWhether(api, 'BatchCheckLayerAvailability', subject, isMissing, () =>
        api.askForLayer(path, emptyDigest, signal),
      );
    }
  }

  async function ensure(identity: AwsIdentity, repository: Repository, signal: AbortSignal): Promise<void> {
    const subject = formatRepository(repository);
    const api = await open(identity, repository.registry, subject, signal);
    // On ECR Public the first part is the registry's alias.
    const path = api.service === 'ecr' ? repository.path : repository.path.replace(/^[^/]*\//, '');
    try {
      if (!(await exists(api, path, subject, signal))) {
        if (!settings.create)
          throw new MirrorError(
            'push_refused',
            `There is no repository ${subject}, and Dray is not to make it.`,
            {
              remedy: 'Create the repository, or set `ecr.create: true` in dray.yaml.',
            },
          );
        // If somebody else was faster, how they want it is their business.
        const made = await askWhether(api, 'CreateRepository', subject, isThere, () =>
          api.create(path, signal),
        );
        if (made && api.putPolicy && settings.lifecyclePolicy !== undefined) unfinished.add(subject);
      }
      if (!unfinished.has(subject)) return;
      const policy = await readFile(settings.lifecyclePolicy ?? '', 'utf8');
      await ask(api, 'PutLifecyclePolicy', subject, async () => api.putPolicy?.(path, policy, signal));
      unfinished.delete(subject);
    } finally {
      api.close();
    }
  }

  return {
    identityOf: (given, host) => identityOfCaller(given, host, reservedRoles),
    login: (identity, host, signal) =>
      inTime(`ecr:GetAuthorizationToken for ${host}`, () =>
        logins.get(fingerprint(identity, host), signal, (own) => fetchLogin(identity, host, own)),
      ),
    async prepare(identity, repository, signal) {
      const subject = formatRepository(repository);
      await inTime(`ecr:CreateRepository for ${subject}`, () =>
        repositories.get(fingerprint(identity, subject), signal, async (own) => {
          await ensure(identity, repository, own);
          return { value: true, expires: performance.now() + repositoryAge };
        }),
      );
    },
  };
}

/** The installation's own entries on ECR hosts: `login: aws`, or AWS keys as user name and password. */
export function createEcrKeychain(
  ecr: Ecr,
  entries: readonly RegistryEntry[],
  passwords: ReadonlyMap<string, string>,
): Keychain {
  const identities = new Map(
    entries.flatMap((entry) => {
      const identity = identityOfEntry(entry, passwords.get(entry.host));
      return identity ? [[entry.host, identity] as const] : [];
    }),
  );
  return {
    async resolve({ registry }, signal) {
      const identity = identities.get(registry);
      return identity && ecr.login(identity, registry, signal);
    },
    async prepare(repository, signal) {
      const identity = identities.get(repository.registry);
      if (identity) await ecr.prepare(identity, repository, signal);
      return identity !== undefined;
    },
    prepares: ({ registry }) => identities.has(registry),
  };
}

/** Undefined: the entry is a login as it is, or none of ECR. */
export function identityOfEntry(entry: RegistryEntry, password: string | undefined): AwsIdentity | undefined {
  const { host, login, username, role, externalId } = entry;
  if (!ecrHost(host)) return undefined;
  if (login === 'aws')
    return role === undefined ? {} : { role: { arn: role, ...(externalId && { externalId }) } };
  const keys = username !== undefined && password !== undefined ? awsKeysOf(username, password) : undefined;
  return keys?.accessKey && keys.secretKey
    ? { keys: { accessKey: keys.accessKey, secretKey: keys.secretKey } }
    : undefined;
}
