import { constants, createCipheriv, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { type Asked, PairedPlatform } from '../../test/fixtures/paired-platform.ts';
import type { PairingRecord, PairingStore } from '../db/pairings.ts';
import { createSealer } from '../lib/seal.ts';
import { type Channel, createChannel } from './channel.ts';
import { createPlatform } from './client.ts';
import { createPairings, type Pairings } from './pairing.ts';

// The room as a whole, over real sockets.

const endpoint = 'https://seqera.example.com/api';
const sealer = createSealer([randomBytes(32)]);
const signal = new AbortController().signal;

let rows: Map<string, PairingRecord>;
let time: number;
let pairings: Pairings;
let channel: Channel;
let server: WebSocketServer;
let platforms: PairedPlatform[];
const store: PairingStore = {
  get: async (id) => rows.get(id),
  present: async (of) => [...rows.values()].find((row) => row.endpoint === of && !row.replacedAt),
  replace: async (old, next) => {
    const row = rows.get(old ?? '');
    if (row) rows.set(row.id, { ...row, replacedAt: next.createdAt });
    rows.set(next.id, next);
    return true;
  },
  list: async () => [...rows.values()],
  reseal: async () => undefined,
  sweep: async (before) => {
    for (const { id, replacedAt } of rows.values()) if (replacedAt && replacedAt < before) rows.delete(id);
  },
};

beforeEach(async () => {
  rows = new Map();
  time = Date.now();
  platforms = [];
  pairings = createPairings({ endpoints: new Map([[endpoint, 't']]), store, sealer, now: () => time });
  channel = createChannel({
    pairings,
    onError: (error) => {
      throw error;
    },
  });
  server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  server.on('connection', (socket) => void channel.open(endpoint, socket));
});
afterEach(async () => {
  channel.close();
  for (const { socket } of platforms) socket.terminate();
  await new Promise((resolve) => server.close(resolve));
});

/** An installation that seals under the key that its socket was sent, and knows no other. */
async function connect(password: string): Promise<PairedPlatform> {
  const { port } = server.address() as AddressInfo;
  const platform = new PairedPlatform(new WebSocket(`ws://127.0.0.1:${port}`));
  platforms.push(platform);
  platform.answer = ({ uri }: Asked) => {
    const { pairingId, publicKey } = platform.pairing ?? {};
    if (new URL(uri).searchParams.get('pairingId') !== pairingId) return { status: 400, body: '{}' };
    const key = randomBytes(16);
    const cipher = createCipheriv('aes-128-ecb', key, null);
    const plain = JSON.stringify({ discriminator: 'container-reg', userName: 'u', password });
    const data = Buffer.concat([cipher.update(plain), cipher.final()]);
    const der = Buffer.from(publicKey ?? '', 'base64');
    const sealed = publicEncrypt(
      {
        key: createPublicKey({ key: der, format: 'der', type: 'spki' }),
        padding: constants.RSA_PKCS1_PADDING,
      },
      key,
    );
    const packet = ['1', 'P', sealed.toString('base64'), data.toString('base64')].join('\\');
    return { status: 200, body: JSON.stringify({ keys: packet }) };
  };
  await platform.until(() => platform.pairing !== undefined);
  return platform;
}

it('reads credentials through each socket with the pair of that socket, before and after a renewal', async () => {
  const tokens = {
    present: async ({ accessToken }: { accessToken: string }) => accessToken,
    renew: async () => undefined,
  };
  const platform = createPlatform({ channel, pairings, tokens });
  const grant = { endpoint, accessToken: 'a' };
  const passwordOf = async (id: string) => {
    const keys = await platform.keys(grant, id, signal);
    return keys.kind === 'container-reg' && keys.password;
  };
  const old = await connect('through the old socket');
  expect(await passwordOf('one')).toBe('through the old socket');
  time += 25 * 3600_000;
  const young = await connect('through the young socket');
  expect(young.pairing?.pairingId).not.toBe(old.pairing?.pairingId);
  expect(await passwordOf('two')).toBe('through the young socket');
  // In flight over the young socket when it goes: asked again over the old one, under the old pair.
  young.answer = () => young.socket.terminate();
  expect(await passwordOf('three')).toBe('through the old socket');

  // A day later the old pair is out of date: its socket pairs anew.
  time += 24 * 3600_000 + 1;
  old.send({ '@type': 'pairing-heartbeat', msgId: 'a' });
  expect((await old.closed)[0]).toBe(1012);
  await connect('through a new socket');
  expect(await passwordOf('four')).toBe('through a new socket');
});
