import {
  createPrivateKey,
  generateKeyPair,
  hash,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import { promisify } from 'node:util';
import { normalizeEndpoint } from '../core/grant.ts';
import type { PairingRecord, PairingStore } from '../db/pairings.ts';
import { createMemo } from '../lib/memo.ts';
import { createKeyedMutex } from '../lib/mutex.ts';
import type { Sealer } from '../lib/seal.ts';

/** What a try to pair says of itself, decoded and otherwise as it came. */
export interface PairingTry {
  service: string;
  token: string;
  endpoint: string;
}

/** What an installation is sent when its socket opens. */
export interface PublicPair {
  id: string;
  /** Base64 of the SubjectPublicKeyInfo in DER. */
  publicKey: string;
}

/** The key pairs under which installations of Seqera Platform seal what they send. */
export interface Pairings {
  /** The configured endpoints, in order. */
  endpoints: readonly string[];
  /** @returns the endpoint, normalized; undefined when the try is to be refused, for whatever reason. */
  admit(attempt: PairingTry): string | undefined;
  /** Why a try was refused, for the administrator and nobody else; `endpoint` where it is one of ours. */
  whyRefused(attempt: PairingTry): { why: string; endpoint?: string };
  /**
   * The pair for a socket that opens: a new one where there is none that can be read, or it is older than a day.
   * @throws MirrorError of the database.
   */
  present(endpoint: string): Promise<PublicPair>;
  /** Whether a socket may go on with this pair. False: it is to be closed, so that Platform pairs anew. */
  isGood(id: string): Promise<boolean>;
  /** Undefined when its record or the master key is lost. */
  privateKey(id: string): Promise<KeyObject | undefined>;
  /**
   * At start: seals anew what is sealed with an old master key, and deletes what is out of date. A pair that no
   * master key opens is replaced when its socket opens.
   * @returns how many such pairs there are.
   */
  reseal(): Promise<number>;
}

export interface PairingsOptions {
  /** Endpoint, normalized → token. */
  endpoints: ReadonlyMap<string, string>;
  store: PairingStore;
  sealer: Sealer;
  /** Milliseconds since 1970. */
  now?: () => number;
}

/** The one service that pairs with a Wave server; it is Platform's old name. */
const service = 'tower';

const day = 24 * 3600 * 1000;
/** Milliseconds. Wave's pairs live as long: `wave.pairing-key.lease` and `duration`. */
const life = { untilRenewed: day, afterReplaced: 2 * day };
/** Of the two days for which a replaced pair is kept: sockets get on with it for one, packets are opened for both. */
const socketsGoOn = day;
const sweepEvery = 3600 * 1000;
/** Milliseconds for which an opened private key is used without a look at its record. */
const trusted = 60_000;

const generate = promisify(generateKeyPair);

export function createPairings({ endpoints, store, sealer, now = Date.now }: PairingsOptions): Pairings {
  const digestOf = (token: string) => hash('sha256', token, 'buffer');
  const tokens = new Map([...endpoints].map(([endpoint, token]) => [endpoint, digestOf(token)]));
  // Nobody's token has this hash: an unknown endpoint is compared like any other.
  const nobody = randomBytes(32);
  const opened = createMemo<KeyObject | undefined>(100);
  const mutex = createKeyedMutex();
  let sweptAt = 0;

  const open = ({ id, privateKey }: PairingRecord) => sealer.open(privateKey, purposeOf(id));

  async function sweep(): Promise<void> {
    sweptAt = now();
    await store.sweep(new Date(sweptAt - life.afterReplaced));
  }

  async function create(endpoint: string): Promise<PairingRecord> {
    const { publicKey, privateKey } = await generate('rsa', { modulusLength: 2048 });
    const id = randomBytes(16).toString('hex');
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
    return {
      id,
      endpoint,
      publicKey: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
      privateKey: sealer.seal(pem, purposeOf(id)),
      createdAt: new Date(now()),
    };
  }

  async function renewed(endpoint: string): Promise<PairingRecord> {
    for (;;) {
      const old = await store.present(endpoint);
      if (old && now() - old.createdAt.getTime() <= life.untilRenewed && open(old) !== undefined) return old;
      const next = await create(endpoint);
      // False: another process was faster, and its pair is there now.
      if (await store.replace(old?.id, next)) return next;
    }
  }

  return {
    endpoints: [...endpoints.keys()],
    admit(attempt) {
      const endpoint = normalizeEndpoint(attempt.endpoint) ?? '';
      // Every part is looked at every time: how long a refusal takes tells nothing.
      const known = tokens.get(endpoint);
      const same = timingSafeEqual(digestOf(attempt.token), known ?? nobody);
      return same && known !== undefined && attempt.service === service ? endpoint : undefined;
    },
    whyRefused(attempt) {
      const endpoint = normalizeEndpoint(attempt.endpoint);
      if (attempt.service !== service) return { why: 'It asks for another service than "tower".' };
      if (endpoint === undefined) return { why: 'It names no endpoint.' };
      if (tokens.has(endpoint)) return { why: 'It showed another token than the one configured.', endpoint };
      const listed = [...tokens.keys()].join(', ') || 'none';
      return { why: `Its endpoint is not listed under platform.endpoints; listed: ${listed}.` };
    },
    async present(endpoint) {
      const { id, publicKey } = await mutex.run(endpoint, () => renewed(endpoint));
      await sweep();
      return { id, publicKey };
    },
    async isGood(id) {
      if (now() - sweptAt > sweepEvery) await sweep();
      const record = await store.get(id);
      return record !== undefined && now() - (record.replacedAt?.getTime() ?? now()) <= socketsGoOn;
    },
    privateKey: (id) =>
      opened.get(id, trusted, async () => {
        const record = await store.get(id);
        if (!record || now() - (record.replacedAt?.getTime() ?? now()) > life.afterReplaced) return undefined;
        const pem = open(record);
        return pem === undefined ? undefined : createPrivateKey(pem);
      }),
    async reseal() {
      await sweep();
      let lost = 0;
      for (const { id, privateKey } of await store.list()) {
        if (sealer.open(privateKey, purposeOf(id)) === undefined) lost++;
        const anew = sealer.reseal(privateKey, purposeOf(id));
        if (anew !== undefined) await store.reseal(id, privateKey, anew);
      }
      return lost;
    },
  };
}

function purposeOf(id: string): string {
  return `pairing:${id}`;
}
