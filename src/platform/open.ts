import type { Kysely } from 'kysely';
import { ConfigError } from '../config.ts';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import type { Grant } from '../core/grant.ts';
import { createPairingStore } from '../db/pairings.ts';
import { createTokenStore } from '../db/platform-tokens.ts';
import type { Schema } from '../db/schema.ts';
import type { Sealer } from '../lib/seal.ts';
import { type Channel, createChannel } from './channel.ts';
import { createPlatform, type Platform } from './client.ts';
import { canDecrypt } from './packet.ts';
import { createPairings, type Pairings } from './pairing.ts';
import { createTokens } from './tokens.ts';

/** Everything that has to do with Seqera Platform. */
export interface PlatformRoom extends Platform {
  channel: Channel;
  pairings: Pairings;
  /** Key pairs that no master key opens; they are replaced when their socket opens. */
  lostPairs: number;
  /**
   * Whom a caller's mirrors belong to: `<endpoint>#user:<id>`, or `<endpoint>#workspace:<id>` of a workspace whose
   * credentials the caller may see.
   * @throws MirrorError as {@link Platform} does; `unpaired_endpoint` also for one that has never connected.
   */
  tenantOf(grant: Grant, signal: AbortSignal): Promise<string>;
}

export interface PlatformRoomOptions {
  /** Endpoint, normalized → token. */
  endpoints: ReadonlyMap<string, string>;
  kysely: Kysely<Schema>;
  sealer: Sealer;
  onError: (error: unknown) => void;
  onGone: (endpoint: string, why: string) => void;
}

/**
 * Opens what is on record, and seals it anew where the master key has changed. Waits for no socket.
 * @throws ConfigError when this Node can't open what Seqera Platform sends.
 */
export async function openPlatform(options: PlatformRoomOptions): Promise<PlatformRoom> {
  const { endpoints, kysely, sealer, onError, onGone } = options;
  if (endpoints.size > 0 && !(await canDecrypt()))
    throw new ConfigError(
      `Node ${process.version} refuses RSA with PKCS#1 v1.5, in which Seqera Platform sends credentials. Use Node 22 or later.`,
    );
  const store = createPairingStore(kysely);
  const pairings = createPairings({ endpoints, store, sealer });
  const channel = createChannel({ pairings, onError, onGone });
  const tokens = createTokens({ channel, store: createTokenStore(kysely), sealer, onError });
  const [lostPairs] = await Promise.all([pairings.reseal(), tokens.reseal()]);
  const platform = createPlatform({ channel, pairings, tokens });

  return {
    ...platform,
    channel,
    pairings,
    lostPairs,
    tenantOf: (grant, signal) =>
      tenantOf(platform, grant, signal).catch(async (caught: unknown) => {
        const error = asMirrorError(caught);
        if (error.code !== 'platform_unavailable' || (await store.present(grant.endpoint))) throw error;
        throw new MirrorError('unpaired_endpoint', `${grant.endpoint} has never connected to this service.`);
      }),
  };
}

/** As {@link PlatformRoom.tenantOf}, of an endpoint that has connected before. */
export async function tenantOf(
  platform: Pick<Platform, 'userId' | 'credentials'>,
  grant: Grant,
  signal: AbortSignal,
): Promise<string> {
  const { endpoint, workspaceId } = grant;
  const user = await platform.userId(grant, signal);
  if (workspaceId === undefined) return `${endpoint}#user:${user}`;
  // Who may see a workspace's credentials is a member; who a user is, Platform tells without the workspaces. A run keeps
  // its credentials for as long as it lasts, but not its caller's membership.
  const lasting = { ...grant };
  delete lasting.workflowId;
  await platform.credentials(lasting, signal);
  return `${endpoint}#workspace:${workspaceId}`;
}
