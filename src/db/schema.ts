import type { ColumnType, Generated, GeneratedAlways, JSONColumnType } from 'kysely';
import type { Failure } from '../core/errors.ts';
import type { Arrival, MirrorState, Phase } from '../core/mirror.ts';

type Time = ColumnType<Date, Date | string, Date | string>;

export interface MirrorsTable {
  id: string;
  /** Rises in the order in which mirrors were asked for; clocks can be set back. */
  seq: GeneratedAlways<number>;
  tenant: string;
  /** What the copy gets its logins with, sealed; gone when the mirror has ended. */
  grant_sealed: string | null;
  source_registry: string;
  source_path: string;
  source_tag: string | null;
  source_digest: string | null;
  target_registry: string;
  target_path: string;
  target_tag: string | null;
  digest: string;
  /** What of it is wanted (`formatSelection`). */
  selection: Generated<string>;
  state: MirrorState;
  phase: Phase | null;
  layers_done: Generated<number>;
  layers_total: Generated<number>;
  bytes_done: Generated<number>;
  bytes_total: Generated<number>;
  attempts: Generated<number>;
  /** How often it was claimed: who holds an older claim than the last may change nothing any more. */
  claims: Generated<number>;
  created_at: Time;
  started_at: Time | null;
  finished_at: Time | null;
  failure: JSONColumnType<Failure> | null;
  /** A pause before the next try, and whom it is for. */
  wait_until: Time | null;
  wait_host: string | null;
  arrival: JSONColumnType<Arrival> | null;
  exit_code: number | null;
  log: Generated<string>;
}

export interface RequestsTable {
  id: string;
  mirror_id: string | null;
  tenant: string;
  image: string;
  target: string;
  digest: string;
  cached: boolean;
  dry_run: boolean;
  created_at: Time;
}

/** What became of mirrors, for those who listen. */
export interface EventsTable {
  /** Rises within a mirror in the order of commits, since each is written with its mirror's row locked. */
  id: GeneratedAlways<number>;
  mirror_id: string;
  at: Generated<Date>;
  type: 'state' | 'layer';
  data: JSONColumnType<Record<string, unknown>>;
  /** The transaction that wrote it: those of several mirrors are in order where (xid, id) is. */
  xid: GeneratedAlways<string>;
}

export interface KeysTable {
  id: string;
  name: string;
  hash: string;
  admin: boolean;
  created_at: Time;
  last_used_at: Time | null;
  revoked_at: Time | null;
}

/** Key pairs for Seqera Platform; of one endpoint one at most is not replaced. */
export interface PairingsTable {
  id: string;
  endpoint: string;
  public_key: string;
  /** Sealed (lib/seal.ts). */
  private_key: string;
  created_at: Time;
  replaced_at: Time | null;
}

/** Tokens that were refreshed, for whoever comes with those that they replace. */
export interface PlatformTokensTable {
  /** A hash of what they replace. */
  id: string;
  sealed: string;
  updated_at: Time;
}

/** Keys that receipts are, or were, signed with; one at most is not retired. */
export interface ReceiptKeysTable {
  /** SHA-256 of the public key's DER, in hex. */
  id: string;
  public_key: string;
  /** Sealed (lib/seal.ts); gone when it is retired. */
  private_key: string | null;
  created_at: Time;
  retired_at: Time | null;
}

/** What was signed of a mirror: a DSSE envelope as JSON, byte for byte. */
export interface ReceiptsTable {
  mirror_id: string;
  envelope: string;
  created_at: Time;
}

export interface Schema {
  mirrors: MirrorsTable;
  requests: RequestsTable;
  events: EventsTable;
  keys: KeysTable;
  pairings: PairingsTable;
  platform_tokens: PlatformTokensTable;
  receipt_keys: ReceiptKeysTable;
  receipts: ReceiptsTable;
}
