/**
 * What lets Dray act for a caller of Seqera Platform. Both tokens are secrets: wherever a grant is kept it is
 * sealed (lib/seal.ts), and what is cached by it is cached by a hash.
 */
export interface Grant {
  /** Base URL of the installation's API, as {@link normalizeEndpoint} writes it. */
  endpoint: string;
  /** Absent: the caller's personal workspace. */
  workspaceId?: number;
  /** The run that asks; credentials may be kept for as long as it lasts. */
  workflowId?: string;
  accessToken: string;
  refreshToken?: string;
}

/** Hosts that Seqera has renamed (wave-api, "towerEndpoint"). */
const renamed: Record<string, string> = {
  'api.tower.nf': 'api.cloud.seqera.io',
  'api.stage-tower.net': 'api.cloud.stage-seqera.io',
};

/** Characters; those who write them need some dozens. */
const endpointLimit = 1000;

/**
 * One way of writing an endpoint: lower-case scheme and host, no default port, no trailing slash, no query.
 * @returns undefined for what is no http(s) URL, or has a login in it, and for what is too long to be
 *   one: it comes from strangers, and taking the slashes off takes the square of their number.
 */
export function normalizeEndpoint(text: string): string | undefined {
  if (text.length > endpointLimit || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (!/^https?:$/.test(url.protocol) || url.username || url.password) return undefined;
  url.hostname = renamed[url.hostname] ?? url.hostname;
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
}

/** What a credential of Seqera Platform holds, decrypted (the packet's `discriminator` is its kind). All of it is secret. */
export type PlatformKeys =
  | {
      kind: 'container-reg';
      /** On Amazon ECR an access key or the ARN of a role. */
      userName: string;
      /** On Amazon ECR a secret key or an external id; empty where a role has none. */
      password: string;
      registry?: string;
    }
  | { kind: 'aws'; accessKey?: string; secretKey?: string; assumeRoleArn?: string; externalId?: string };
