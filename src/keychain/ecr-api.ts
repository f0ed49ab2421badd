import type { Settings } from '../settings.ts';
import type { ClientOptions } from './aws.ts';

/** The few calls that we make to ECR or to ECR Public, with one identity in one region. */
export interface EcrApi {
  /** As policies name it. */
  service: 'ecr' | 'ecr-public';
  authorize(signal: AbortSignal): Promise<{ token: string | undefined; end: Date | undefined }>;
  describe(name: string, signal: AbortSignal): Promise<unknown>;
  /** Asks whether a layer is there. */
  askForLayer(name: string, digest: string, signal: AbortSignal): Promise<unknown>;
  create(name: string, signal: AbortSignal): Promise<unknown>;
  /** ECR Public has no lifecycle policies. */
  putPolicy?(name: string, policy: string, signal: AbortSignal): Promise<unknown>;
  close(): void;
}

export async function openPrivate(
  options: ClientOptions,
  { account, fips }: { account: string; fips: boolean },
  settings: Settings['ecr'],
): Promise<EcrApi> {
  const sdk = await import('@aws-sdk/client-ecr');
  const client = new sdk.ECRClient({ ...options, ...(fips && { useFipsEndpoint: true }) });
  // The host says whose registry it is: not always that of the identity's own account.
  const at = (name: string) => ({ registryId: account, repositoryName: name });
  return {
    service: 'ecr',
    async authorize(abortSignal) {
      const { authorizationData } = await client.send(new sdk.GetAuthorizationTokenCommand({}), {
        abortSignal,
      });
      const [data] = authorizationData ?? [];
      return { token: data?.authorizationToken, end: data?.expiresAt };
    },
    describe: (name, abortSignal) =>
      client.send(new sdk.DescribeRepositoriesCommand({ registryId: account, repositoryNames: [name] }), {
        abortSignal,
      }),
    askForLayer: (name, digest, abortSignal) =>
      client.send(new sdk.BatchCheckLayerAvailabilityCommand({ ...at(name), layerDigests: [digest] }), {
        abortSignal,
      }),
    create: (name, abortSignal) =>
      client.send(
        new sdk.CreateRepositoryCommand({
          ...at(name),
          imageTagMutability: settings.immutableTags ? 'IMMUTABLE' : 'MUTABLE',
          imageScanningConfiguration: { scanOnPush: settings.scanOnPush },
          tags: Object.entries(settings.tags).map(([Key, Value]) => ({ Key, Value })),
        }),
        { abortSignal },
      ),
    putPolicy: (name, lifecyclePolicyText, abortSignal) =>
      client.send(new sdk.PutLifecyclePolicyCommand({ ...at(name), lifecyclePolicyText }), { abortSignal }),
    close: () => client.destroy(),
  };
}

export async function openPublic(options: ClientOptions): Promise<EcrApi> {
  const sdk = await import('@aws-sdk/client-ecr-public');
  const client = new sdk.ECRPUBLICClient(options);
  return {
    service: 'ecr-public',
    async authorize(abortSignal) {
      const { authorizationData } = await client.send(new sdk.GetAuthorizationTokenCommand({}), {
        abortSignal,
      });
      return { token: authorizationData?.authorizationToken, end: authorizationData?.expiresAt };
    },
    describe: (name, abortSignal) =>
      client.send(new sdk.DescribeRepositoriesCommand({ repositoryNames: [name] }), { abortSignal }),
    askForLayer: (repositoryName, digest, abortSignal) =>
      client.send(new sdk.BatchCheckLayerAvailabilityCommand({ repositoryName, layerDigests: [digest] }), {
        abortSignal,
      }),
    // Mutability, scanning, lifecycle and (without another right) tags are a matter of private repositories.
    create: (repositoryName, abortSignal) =>
      client.send(new sdk.CreateRepositoryCommand({ repositoryName }), { abortSignal }),
    close: () => client.destroy(),
  };
}

export function isMissing(error: unknown): boolean {
  return (error as Error).name === 'RepositoryNotFoundException';
}

export function isThere(error: unknown): boolean {
  return (error as Error).name === 'RepositoryAlreadyExistsException';
}
