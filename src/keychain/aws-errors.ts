import { type ErrorCode, MirrorError, type MirrorErrorOptions } from '../core/errors.ts';
import { classifyOutage } from './outage.ts';

/** What was asked of AWS, for the sentence. */
export interface AwsDoing {
  /** `ecr:CreateRepository`, as a policy would allow it. */
  action: string;
  /** What it was asked for: "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a/b". */
  subject: string;
}

type Kind = { names: RegExp; code: ErrorCode; says: string } & MirrorErrorOptions;

// "Common errors" of the AWS API references of STS, ECR and ECR Public. What AWS says beside the name is not repeated:
// of a wrong signature it quotes the request.
const kinds: Kind[] = [
  {
    names: /^(?:ExpiredToken|RequestExpired|TokenRefreshRequired)/,
    code: 'credentials_rejected',
    says: 'the AWS session has ended',
    remedy: 'Renew the AWS credentials that Dray was given.',
  },
  {
    names:
      /^(?:UnrecognizedClient|InvalidSignature|SignatureDoesNotMatch|InvalidClientTokenId|InvalidAccessKeyId|InvalidIdentityToken|IncompleteSignature|MissingAuthenticationToken|AuthFailure|IDPRejectedClaim)/,
    code: 'credentials_rejected',
    says: 'AWS does not know these keys',
    remedy: 'Check the access key and the secret key.',
  },
  {
    names: /^(?:CredentialsProviderError|TokenProviderError)/,
    code: 'credentials_rejected',
    says: 'this service has no AWS identity of its own',
    remedy: 'Run it with an instance, task or pod role, or give it AWS credentials in its environment.',
  },
  {
    names: /^(?:AccessDenied|UnauthorizedOperation|OptInRequired|RegionDisabled)/,
    code: 'denied',
    says: 'the AWS identity may not do this',
  },
  {
    names: /^(?:Throttl|TooManyRequests|RequestLimitExceeded|RequestThrottled|SlowDown)/,
    code: 'rate_limited',
    says: 'too many requests',
  },
  {
    names: /^LimitExceeded/,
    code: 'push_refused',
    says: 'a quota of the AWS account is used up',
    remedy: 'Ask AWS for a higher quota, or remove what is not needed.',
  },
];

/** Says what AWS's refusal means; no message of it holds a key, a token or AWS's own words. */
export function classifyAwsError(error: unknown, { action, subject }: AwsDoing): MirrorError {
  if (error instanceof MirrorError) return error;
  const { name = '', $metadata: metadata } = error as { name?: string; $metadata?: Answered };
  const known = kinds.find(({ names }) => names.test(name));
  const doing = `${action} for ${subject}`;
  if (known) {
    const { code, says, remedy } = known;
    const own = code === 'denied' ? `Allow ${action} in the policy of this identity.` : remedy;
    return new MirrorError(code, `AWS refused ${doing}: ${says} (${name}).`, {
      ...(own !== undefined && { remedy: own }),
      cause: withoutSecrets(name),
    });
  }
  const outage = classifyOutage(error, 'AWS', doing);
  if (outage) return outage;
  const status = metadata?.httpStatusCode ?? 0;
  if (status >= 500)
    return new MirrorError('registry_unavailable', `AWS answered ${status} to ${doing}.`, {
      cause: withoutSecrets(name),
    });
  if (status >= 400)
    return new MirrorError('push_refused', `AWS refused ${doing} (${printable(name)}).`, {
      cause: withoutSecrets(name),
      remedy: 'Check the name of the repository and, in dray.yaml, the settings under `ecr`.',
    });
  // An answer that the SDK could not read.
  if (status > 0)
    return new MirrorError('protocol', `What answers ${doing} is not AWS.`, {
      cause: withoutSecrets(name),
      remedy: 'Check the proxy in between and the variables AWS_ENDPOINT_URL….',
    });
  return new MirrorError('internal', `Something went wrong in ${doing}.`, { cause: error });
}

interface Answered {
  httpStatusCode?: number;
}

/** Causes are logged; AWS's error objects carry their whole answer. */
function withoutSecrets(name: string): Error {
  return new Error(printable(name));
}

function printable(name: string): string {
  return name.replace(/[^\w.:-]/g, '').slice(0, 80);
}
