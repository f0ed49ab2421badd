import { type ErrorCode, MirrorError } from '../core/errors.ts';
import type { Grant } from '../core/grant.ts';
import { formatReference } from '../core/reference.ts';
import type { Route } from './target.ts';

/** What a caller of Seqera Platform can do about a login, who can't change this installation's dray.yaml. */
const remedies: Partial<Record<ErrorCode, (host: string, place: string) => string>> = {
  login_required: (host, place) => `Add a container registry credential for ${host} to ${place}.`,
  credentials_rejected: (host, place) => `Check the credential for ${host} in ${place}.`,
  denied: (host, place) =>
    `Give the account of the credential for ${host} the right, or add one that has it to ${place}.`,
  insufficient_scope: (host, place) =>
    `Give the account, or the token, of the credential for ${host} the right, or add one that has it to ${place}.`,
  // Some registries say this of what is private too.
  manifest_unknown: (host, place) =>
    `Check its name and tag; if it is private, a container registry credential for ${host} that may read it is needed in ${place}.`,
};

/** What such a failure is called on a record, where its own words would name a workspace or a credential. */
const nameless: Partial<Record<ErrorCode, string>> = {
  forbidden: 'Who asked for it may not see the credentials of that workspace any more.',
  credential_unreadable: 'The credential for this registry can not be read.',
};

/**
 * Says of a failure at a registry what the one who asked can do about it, and what a private source looks like.
 * @param place where a caller of Seqera Platform keeps credentials; absent: the caller has a key of this installation.
 */
export function advise(
  error: MirrorError,
  { source, target }: Route,
  place: string | undefined,
): MirrorError {
  const { code, side, retryAfter, retryable, remedy: usual, cause } = error;
  const unnamed = place === somebodysPlace ? nameless[code] : undefined;
  if (unnamed !== undefined)
    return new MirrorError(code, unnamed, { ...(side && { side }), retryable, remedy: usual, cause });
  if (!side) return error;
  const host = (side === 'source' ? source : target).registry;
  const remedy = place && remedies[code]?.(host, place);
  const unseen =
    side === 'source' && code === 'login_required'
      ? `${formatReference(source)} does not exist, or it is private and there is no login for ${host}. `
      : '';
  if (!remedy && !unseen) return error;
  return new MirrorError(code, `${unseen}${error.message}`, {
    side,
    retryable,
    remedy: remedy ?? usual,
    ...(retryAfter !== undefined && { retryAfter }),
    cause,
  });
}

/** For a record, which others may read who have its id or share the copy: it must not say whose it is. */
export const somebodysPlace = 'the workspace on Seqera Platform that asked for it first';

/** For the caller's own eyes. */
export function placeOf({ endpoint, workspaceId }: Grant): string {
  const where = workspaceId === undefined ? 'your personal workspace' : `workspace ${workspaceId}`;
  return `${where} on Seqera Platform (${endpoint})`;
}
