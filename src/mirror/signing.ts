import { createPrivateKey, generateKeyPair, hash, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import type { ReceiptKeyRecord, ReceiptKeyStore } from '../db/receipt-keys.ts';
import { createMemo } from '../lib/memo.ts';
import type { Sealer } from '../lib/seal.ts';

/** The public half of a key that receipts are, or were, signed with. */
export type ReceiptKey = Omit<ReceiptKeyRecord, 'privateKey'>;

/** The keys with which this installation signs receipts, shared by all services on one database. */
export interface SigningKeys {
  /** The one that signs: a new one where there is none, or none that the master key opens. */
  present(): Promise<{ keyid: string; privateKey: KeyObject }>;
  /** From now on another one signs. @returns it. */
  rotate(): Promise<ReceiptKey>;
  /** Every one there ever was, the newest first. */
  list(): Promise<ReceiptKey[]>;
  /** At start: seals anew what is sealed with an old master key. */
  reseal(): Promise<void>;
}

export interface SigningKeysOptions {
  store: ReceiptKeyStore;
  sealer: Sealer;
  /** Hears of a key that no master key opens; another one has taken its place. */
  onLost: (id: string) => void;
}

const generate = promisify(generateKeyPair);

export function createSigningKeys({ store, sealer, onLost }: SigningKeysOptions): SigningKeys {
  const opened = createMemo<KeyObject | undefined>(2);

  const open = ({ id, privateKey = '' }: ReceiptKeyRecord) =>
    opened.get(id, Infinity, () => {
      const pem = sealer.open(privateKey, purposeOf(id));
      return Promise.resolve(pem === undefined ? undefined : createPrivateKey(pem));
    });

  /** @returns undefined when another process was faster. */
  async function replace(old: ReceiptKeyRecord | undefined): Promise<ReceiptKeyRecord | undefined> {
    // P-256: what cosign, and the libraries of Go and Python, take without being told.
    const { publicKey, privateKey } = await generate('ec', { namedCurve: 'P-256' });
    const id = keyIdOf(publicKey);
    const next = {
      id,
      publicKey: publicKey.export({ type: 'spki', format: 'pem' }) as string,
      privateKey: sealer.seal(privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, purposeOf(id)),
      // A clock that was set back must not make the old one the newest.
      createdAt: new Date(Math.max(Date.now(), (old?.createdAt.getTime() ?? 0) + 1)),
    };
    return (await store.replace(old?.id, next)) ? next : undefined;
  }

  return {
    async present() {
      for (;;) {
        // Its record is read every time: another service may have made another one the present.
        const record = await store.present();
        const privateKey = record && (await open(record));
        if (record && privateKey) return { keyid: record.id, privateKey };
        if ((await replace(record)) && record) onLost(record.id);
      }
    },
    async rotate() {
      for (;;) {
        const next = await replace(await store.present());
        if (next) return toPublic(next);
      }
    },
    list: async () => (await store.list()).map(toPublic),
    async reseal() {
      const record = await store.present();
      if (record?.privateKey === undefined) return;
      const anew = sealer.reseal(record.privateKey, purposeOf(record.id));
      if (anew !== undefined) await store.reseal(record.id, record.privateKey, anew);
    },
  };
}

/** The name of a key: SHA-256 of its SubjectPublicKeyInfo in DER, in hex. */
export function keyIdOf(publicKey: KeyObject): string {
  return hash('sha256', publicKey.export({ type: 'spki', format: 'der' }), 'hex');
}

function toPublic({ id, publicKey, createdAt, retiredAt }: ReceiptKeyRecord): ReceiptKey {
  return { id, publicKey, createdAt, ...(retiredAt && { retiredAt }) };
}

function purposeOf(id: string): string {
  return `receipt-key:${id}`;
}
