import type { Arrival, Mirror } from '../core/mirror.ts';
import type { ReceiptStore } from '../db/receipts.ts';
import { type Envelope, signEnvelope } from '../lib/dsse.ts';
import { statementPayload } from '../wire/receipt.ts';
import { stateMirror } from './receipt.ts';
import type { ReceiptKey, SigningKeys } from './signing.ts';

/** The receipts of mirrors that are done, and the keys that they are signed with. */
export interface Receipts {
  /** Signs what a mirror has brought. @returns the envelope as JSON, to be kept with the mirror's end. */
  sign(mirror: Mirror, arrival: Arrival, finishedAt: Date): Promise<string>;
  /**
   * Keeps an envelope before the mirror's end, for whoever shows it to others: of several tries, all show the first.
   * @returns the one to show.
   */
  keep(mirror: Mirror, envelope: string): Promise<string>;
  find(mirrorId: string): Promise<Envelope | undefined>;
  keys(): Promise<ReceiptKey[]>;
  /** From now on another key signs. @returns it. */
  rotate(): Promise<ReceiptKey>;
}

export interface ReceiptsOptions {
  store: ReceiptStore;
  keys: SigningKeys;
  version: { version: string; commitId: string };
}

export function createReceipts({ store, keys, version }: ReceiptsOptions): Receipts {
  return {
    async sign(mirror, arrival, finishedAt) {
      const statement = stateMirror(mirror, arrival, finishedAt, version);
      const payload = Buffer.from(JSON.stringify(statement));
      return JSON.stringify(signEnvelope(payload, statementPayload, await keys.present()));
    },
    keep: async ({ id }, envelope) => (await store.keep(id, envelope, new Date())) ?? envelope,
    async find(mirrorId) {
      const envelope = await store.get(mirrorId);
      return envelope === undefined ? undefined : (JSON.parse(envelope) as Envelope);
    },
    keys: () => keys.list(),
    rotate: () => keys.rotate(),
  };
}
