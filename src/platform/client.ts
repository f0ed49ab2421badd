import type { z } from 'zod';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import type { Grant, PlatformKeys } from '../core/grant.ts';
import { fingerprint } from '../lib/fingerprint.ts';
import { createMemo, type Memo } from '../lib/memo.ts';
import {
  answers,
  classifyStatus,
  idPattern,
  readAnswer,
  refused,
  type RegistryCredential,
} from './answers.ts';
import type { Channel, ChannelAnswer, ChannelRequest } from './channel.ts';
import { openPacket } from './packet.ts';
import type { Pairings } from './pairing.ts';
import { hashGrant, type PlatformTokens, tokenLimit } from './tokens.ts';

/**
 * What Seqera Platform knows of a caller. Every call throws MirrorError `unpaired_endpoint`, `unauthenticated`,
 * `forbidden` or `platform_unavailable`; the last one also when the signal stops the wait.
 */
export interface Platform {
  /** Who the caller is; known for a day. */
  userId(grant: Grant, signal: AbortSignal): Promise<number>;
  /** The container registry credentials of the caller's workspace; known for a minute, or for the whole run. */
  credentials(grant: Grant, signal: AbortSignal): Promise<RegistryCredential[]>;
  /** What a credential holds; known as long. @throws MirrorError `credential_unreadable` too. */
  keys(grant: Grant, credentialId: string, signal: AbortSignal): Promise<PlatformKeys>;
  /** The AWS credential with which the caller's run was launched; undefined without a run, or on another cloud. */
  launchCredential(grant: Grant, signal: AbortSignal): Promise<string | undefined>;
}

export interface PlatformOptions {
  channel: Pick<Channel, 'check' | 'request' | 'excuse'>;
  pairings: Pick<Pairings, 'privateKey'>;
  tokens: Pick<PlatformTokens, 'present' | 'renew'>;
}

/** Milliseconds for which answers are good (shared contract: "Cache user-info about a day per token…"). */
const ages = { user: 24 * 3600_000, refused: 10_000, credentials: 60_000, run: 12 * 3600_000 };
/** Entries; one of secrets can take 64 kB. */
const limits = { users: 10_000, credentials: 1000 };

type User = { id: number } | { refused: MirrorError };

export function createPlatform({ channel, pairings, tokens }: PlatformOptions): Platform {
  const users = createMemo<User>(limits.users);
  const lists = createMemo<RegistryCredential[]>(limits.credentials);
  const secrets = createMemo<PlatformKeys>(limits.credentials);
  const launches = createMemo<string | undefined>(limits.credentials);
  // Those who ask for the same thing share one call, which none of them may stop; the channel has a limit of its own.
  const unstopped = new AbortController().signal;

  /** @throws MirrorError for a grant that is not worth a call. */
  function check({ endpoint, accessToken, workspaceId }: Grant): void {
    channel.check(endpoint);
    // It becomes a header.
    if (!/^[\x21-\x7e]+$/.test(accessToken) || accessToken.length > tokenLimit)
      throw new MirrorError('unauthenticated', 'The access token is none of Seqera Platform.');
    if (workspaceId !== undefined && !Number.isSafeInteger(workspaceId))
      throw new MirrorError('invalid_request', 'The workspace is no number.');
  }

  /** Asks with the newest token, and once more with a fresh one where it has expired. Any status but 401. */
  async function ask(grant: Grant, uri: ChannelRequest['uri']): Promise<ChannelAnswer> {
    const send = (token: string) =>
      channel.request(grant.endpoint, { method: 'GET', uri, auth: `Bearer ${token}` }, unstopped);
    const token = await tokens.present(grant);
    const answer = await send(token);
    if (answer.status !== 401) return answer;
    const fresh = await tokens.renew(grant, token);
    const again = fresh === undefined ? answer : await send(fresh);
    if (again.status === 401) throw refused(grant);
    return again;
  }

  function read<T>(schema: z.ZodType<T>, answer: ChannelAnswer, grant: Grant, what: string): T {
    if (answer.status < 200 || answer.status > 299) throw classifyStatus(answer, grant, what);
    return readAnswer(schema, answer, grant);
  }

  /** The shared answer, for as long as this caller wants to wait. */
  function wanted<T>(work: Promise<T>, { endpoint }: Grant, signal: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      const stop = () => reject(channel.excuse(endpoint));
      if (signal.aborted) stop();
      signal.addEventListener('abort', stop);
      void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
    });
  }

  /** What is known of the grant's workspace and run, else what `fetch` gets. */
  function cached<T>(
    memo: Memo<T>,
    grant: Grant,
    what: string,
    signal: AbortSignal,
    fetch: () => Promise<T>,
  ) {
    check(grant);
    return wanted(memo.get(keyOf(grant, what), ageOf(grant), fetch), grant, signal);
  }

  async function fetchUser(grant: Grant): Promise<User> {
    try {
      const answer = await ask(grant, `${grant.endpoint}/user-info`);
      if (answer.status === 403) throw refused(grant);
      return { id: read(answers.userInfo, answer, grant, 'asking who the caller is') };
    } catch (error) {
      const known = asMirrorError(error);
      // Kept for a moment: clients try again at once with the same token.
      if (known.code === 'unauthenticated') return { refused: known };
      throw known;
    }
  }

  async function fetchKeys(grant: Grant, id: string): Promise<PlatformKeys> {
    const { endpoint } = grant;
    const shown = `Credential ${id.replace(/[^\x21-\x7e]/g, '').slice(0, 100)}`;
    if (!idPattern.test(id)) throw new MirrorError('credential_unreadable', `${shown} has no proper id.`);
    const uri = (pairingId: string) =>
      uriOf(grant, `/credentials/${encodeURIComponent(id)}/keys`, { pairingId });
    const answer = await ask(grant, uri);
    if (answer.status === 404) {
      lists.drop(keyOf(grant, 'credentials'));
      throw new MirrorError('credential_unreadable', `${shown} is no longer on ${endpoint}.`);
    }
    const packet = read(answers.packet, answer, grant, 'fetching a credential');
    const privateKey = await pairings.privateKey(answer.pairingId);
    if (!privateKey)
      throw new MirrorError('platform_unavailable', `${endpoint} has to pair anew: its key pair is lost.`);
    try {
      return openPacket(packet, privateKey);
    } catch {
      throw new MirrorError('credential_unreadable', `${shown} on ${endpoint} can not be read.`);
    }
  }

  return {
    async userId(grant, signal) {
      check(grant);
      const key = hashGrant(grant);
      const known = (age: number) =>
        wanted(
          users.get(key, age, () => fetchUser(grant)),
          grant,
          signal,
        );
      let user = await known(ages.user);
      if ('refused' in user) user = await known(ages.refused);
      if ('refused' in user) throw user.refused;
      return user.id;
    },
    credentials: async (grant, signal) =>
      cached(lists, grant, 'credentials', signal, async () => {
        const answer = await ask(grant, uriOf(grant, '/credentials'));
        // A workspace that is not there and one that is not the caller's are the same to him.
        if (answer.status === 404 && grant.workspaceId !== undefined) answer.status = 403;
        return read(answers.credentialList, answer, grant, 'listing credentials');
      }),
    keys: async (grant, credentialId, signal) =>
      cached(secrets, grant, `keys ${credentialId}`, signal, () => fetchKeys(grant, credentialId)),
    async launchCredential(grant, signal) {
      const { workflowId } = grant;
      if (workflowId === undefined || !idPattern.test(workflowId)) return undefined;
      return cached(launches, grant, 'launch', signal, async () => {
        const answer = await ask(grant, uriOf(grant, `/workflow/${encodeURIComponent(workflowId)}/launch`));
        // A run that Platform does not know, or did not launch.
        if (answer.status === 404) return undefined;
        return read(answers.launch, answer, grant, 'looking for the launch of a run');
      });
    },
  };
}

/** Built of the configured endpoint and encoded parts only. */
function uriOf({ endpoint, workspaceId }: Grant, path: string, query: Record<string, string> = {}): string {
  const all = new URLSearchParams({
    ...query,
    ...(workspaceId !== undefined && { workspaceId: String(workspaceId) }),
  });
  return `${endpoint}${path}${all.size > 0 ? `?${all.toString()}` : ''}`;
}

function ageOf({ workflowId }: Grant): number {
  return workflowId === undefined ? ages.credentials : ages.run;
}

/** A hash: the cache names no token. */
function keyOf(grant: Grant, what: string): string {
  const { workspaceId, workflowId } = grant;
  return fingerprint(hashGrant(grant), workspaceId, workflowId, what);
}
