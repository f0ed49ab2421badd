import { z } from 'zod';
import type { Grant } from '../core/grant.ts';
import { MirrorError } from '../core/errors.ts';
import type { ProxyAnswer } from './frames.ts';

/** A credential of the kind "container registry". */
export interface RegistryCredential {
  id: string;
  /** As the user wrote it, trimmed: a host, perhaps with a scheme or a path. */
  registry: string;
}

/** Ids go into paths, where encoding does not help against dots: `..` would climb. */
export const idPattern = /^(?!\.+$)[\x21-\x7e]{1,100}$/;
const id = z.string().regex(idPattern);
/** More than anybody has; a list is kept in memory. */
const listLimit = 1000;

const userInfo = z.object({ user: z.object({ id: z.int().positive() }) }).transform(({ user }) => user.id);

const registryCredential = z.object({
  id,
  provider: z.literal('container-reg'),
  keys: z.object({ registry: z.string().max(500).nullish() }).nullish(),
});
const credentialList = z.object({ credentials: z.array(z.unknown()) }).transform(({ credentials }) => {
  // Other kinds have other members; one that we can't read is no reason to do without the others.
  const known = credentials.flatMap((each) => registryCredential.safeParse(each).data ?? []);
  return known.slice(0, listLimit).map((each): RegistryCredential => ({
    id: each.id,
    registry: each.keys?.registry?.trim() || 'docker.io',
  }));
});

const packet = z.object({ keys: z.string() }).transform(({ keys }) => keys);

const computeEnv = z.object({ platform: z.string().nullish(), credentialsId: id.nullish() });
const launch = z
  .object({ launch: z.object({ computeEnv: computeEnv.nullish() }).nullish() })
  .transform(({ launch }) => {
    const { platform, credentialsId } = launch?.computeEnv ?? {};
    return platform === 'aws-batch' ? (credentialsId ?? undefined) : undefined;
  });

/** What Platform's API answers, as far as it is used. */
export const answers = { userInfo, credentialList, packet, launch };

/** @throws MirrorError `platform_unavailable` for what is no such answer; it quotes nothing. */
export function readAnswer<T>(schema: z.ZodType<T>, { body }: ProxyAnswer, { endpoint }: Grant): T {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    value = undefined;
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new MirrorError('platform_unavailable', `${endpoint} gave an answer that makes no sense.`);
}

/** Names a status that is no success, nor 401. */
export function classifyStatus({ status, headers }: ProxyAnswer, grant: Grant, what: string): MirrorError {
  const { endpoint, workspaceId } = grant;
  if (status === 403)
    return new MirrorError(
      'forbidden',
      workspaceId === undefined
        ? `The caller may not see credentials on ${endpoint}.`
        : `The caller is no member of workspace ${workspaceId} on ${endpoint}, or may not see its credentials.`,
      { remedy: 'Ask an administrator of the workspace, or name another one.' },
    );
  const passes = status >= 500 || status === 408 || status === 429;
  const seconds = Number(headers.get('retry-after')?.[0] ?? NaN);
  return new MirrorError('platform_unavailable', `${endpoint} answered ${status} when ${what}.`, {
    retryable: passes,
    ...(passes && seconds >= 0 && seconds < 86_400 && { retryAfter: seconds }),
  });
}

export function refused({ endpoint }: Grant): MirrorError {
  return new MirrorError(
    'unauthenticated',
    `${endpoint} does not accept the access token; it may have expired.`,
  );
}
