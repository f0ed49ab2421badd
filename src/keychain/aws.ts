import { MirrorError } from '../core/errors.ts';
import { fingerprint } from '../lib/fingerprint.ts';
import type { Dispatchers } from '../lib/http.ts';
import { beforeEnd, createLeases } from '../lib/lease.ts';
import { classifyAwsError } from './aws-errors.ts';
import { createHandler } from './aws-handler.ts';

/** As whom AWS is asked. */
export interface AwsIdentity {
  /** Absent: the identity that this service runs under (environment, pod, task or instance role, profile). */
  keys?: { accessKey: string; secretKey: string };
  /** A role that is assumed with the above. */
  role?: { arn: string; externalId?: string };
}

/** What a caller's credential says; any of it may be missing or wrong. */
export interface CallerKeys {
  accessKey?: string | undefined;
  secretKey?: string | undefined;
  assumeRoleArn?: string | undefined;
  externalId?: string | undefined;
}

export interface TemporaryKeys {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}

/** What every client of the SDK is made with. */
export interface ClientOptions {
  region: string;
  maxAttempts: number;
  requestHandler: Record<string, unknown>;
  credentials?: TemporaryKeys;
}

/** Milliseconds that getting keys or a login from AWS may take in all; a submit has ten seconds for everything. */
export const awsPatience = 8000;
/** More identities than ever work at once; each is small. */
const identityLimit = 1000;
/** One more try for what fails in passing; longer outages are waited out by those who ask us. */
const maxAttempts = 2;

/**
 * The identity that a caller's credential stands for. The service's own identity only ever assumes a role for a caller
 * when an external id goes with it, and never one of `reserved`: the ARN of a role is no secret, and whoever knows
 * one could have us use it (AWS IAM, "The confused deputy problem").
 * @param reserved roles that the configuration keeps for its own entries.
 * @throws MirrorError `credentials_rejected`.
 */
export function identityOfCaller(given: CallerKeys, host: string, reserved: readonly string[]): AwsIdentity {
  const { accessKey, secretKey, assumeRoleArn: arn, externalId } = given;
  const refuse = (why: string, remedy: string) =>
    new MirrorError('credentials_rejected', `The AWS credential for ${host} ${why}.`, { remedy });
  if (!accessKey !== !secretKey)
    throw refuse('has one of access key and secret key only', 'Save the credential with both of them.');
  const keys = accessKey && secretKey ? { accessKey, secretKey } : undefined;
  if (!arn) {
    if (!keys) throw refuse('has neither keys nor a role', 'Save the credential with one or the other.');
    return { keys };
  }
  if (!/^arn:[a-z-]+:iam::[0-9]{12}:role\/[\w+=,.@/-]+$/.test(arn))
    throw refuse(
      'names something that is no role',
      "Give the role's ARN, such as arn:aws:iam::123456789012:role/dray.",
    );
  // With keys of one's own nobody else is asked to act; AWS decides.
  if (!keys && !externalId)
    throw refuse(
      'names a role without an external id, which Dray needs so that nobody can use a role that is not theirs',
      "Put an external id into the role's trust policy (sts:ExternalId) and into the credential.",
    );
  if (!keys && reserved.some((role) => role.toLowerCase() === arn.toLowerCase()))
    throw refuse('names a role that is not for its callers', 'Use a role of your own.');
  return { ...(keys && { keys }), role: { arn, ...(externalId && { externalId }) } };
}

/** Where clients of the SDK get their options, with the keys of an identity. */
export interface Aws {
  /** @throws MirrorError when the role can't be assumed. */
  options(
    identity: AwsIdentity,
    region: string,
    subject: string,
    signal: AbortSignal,
  ): Promise<ClientOptions>;
}

export function createAws(dispatchers: Dispatchers): Aws {
  const sessions = createLeases<TemporaryKeys>({ limit: identityLimit, patience: awsPatience });
  const requestHandler = createHandler(dispatchers);

  const plain = ({ keys }: AwsIdentity, region: string): ClientOptions => ({
    ...{ region, maxAttempts, requestHandler },
    ...(keys && { credentials: { accessKeyId: keys.accessKey, secretAccessKey: keys.secretKey } }),
  });

  async function assume(identity: AwsIdentity, region: string, subject: string, signal: AbortSignal) {
    const { STSClient, AssumeRoleCommand } = await import('@aws-sdk/client-sts');
    const client = new STSClient(plain(identity, region));
    const { arn, externalId } = identity.role ?? { arn: '' };
    const command = new AssumeRoleCommand({
      RoleArn: arn,
      RoleSessionName: 'dray',
      ...(externalId !== undefined && { ExternalId: externalId }),
    });
    const doing = { action: 'sts:AssumeRole', subject };
    try {
      const { Credentials: given } = await client.send(command, { abortSignal: signal });
      const {
        AccessKeyId: accessKeyId,
        SecretAccessKey: secretAccessKey,
        SessionToken: sessionToken,
      } = given ?? {};
      if (!accessKeyId || !secretAccessKey || !sessionToken)
        throw new MirrorError('registry_unavailable', `AWS gave no keys, in sts:AssumeRole for ${subject}.`);
      const end = given?.Expiration?.getTime() ?? 0;
      return { value: { accessKeyId, secretAccessKey, sessionToken }, expires: beforeEnd(end) };
    } catch (error) {
      const classified = classifyAwsError(error, doing);
      if (classified.code !== 'denied') throw classified;
      throw new MirrorError('denied', classified.message, {
        remedy:
          "Check the role's ARN, that its trust policy lets this identity in, and the external id if it wants one.",
        cause: classified.cause,
      });
    } finally {
      client.destroy();
    }
  }

  return {
    async options(identity, region, subject, signal) {
      if (!identity.role) return plain(identity, region);
      const credentials = await sessions.get(fingerprint(identity, region), signal, (own) =>
        assume(identity, region, subject, own),
      );
      return { ...plain({}, region), credentials };
    },
  };
}
