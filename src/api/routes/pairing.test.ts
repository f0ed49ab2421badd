import fastify, { type FastifyBaseLogger, LogController } from 'fastify';
import { validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import { PairedPlatform } from '../../../test/fixtures/paired-platform.ts';
import { createChannel } from '../../platform/channel.ts';
import { createPairings } from '../../platform/pairing.ts';
import type { PairingStore } from '../../db/pairings.ts';
import { createSealer } from '../../lib/seal.ts';
import type { App } from '../app.ts';
import { handleError } from '../errors.ts';
import { type PairingOptions, registerPairing } from './pairing.ts';

const endpoint = 'https://seqera.example.com/api';
/** Longer than the router lets a parameter be, with what must be encoded. */
const token = `licence/+ ${'x'.repeat(500)}`;

describe.each([true, false])('the pairing route, request log off: %s', (disableRequestLogging) => {
  let app: App;
  let channel: PairingOptions['channel'];
  let log: string;
  let sockets: WebSocket[];
  let mayTry: boolean;
  const onRefused = vi.fn();
  beforeEach(async () => {
    log = '';
    sockets = [];
    mayTry = true;
    onRefused.mockReset();
    const logger: FastifyBaseLogger = pino(
      { level: 'trace' },
      { write: (line: string) => void (log += line) },
    );
    const pairings = {
      ...createPairings({
        endpoints: new Map([[endpoint, token]]),
        store: {} as PairingStore,
        sealer: createSealer([Buffer.alloc(32)]),
      }),
      present: async () => ({ id: 'pair1', publicKey: 'key' }),
    };
    channel = createChannel({ pairings, onError: (error) => logger.error({ err: error }) });
    app = fastify({
      loggerInstance: logger,
      logController: new LogController({ disableRequestLogging }),
    }).withTypeProvider<ZodTypeProvider>();
    app.setValidatorCompiler(validatorCompiler);
    app.setErrorHandler(handleError);
    await registerPairing(app, { channel, pairings, onRefused, mayTry: () => mayTry });
    await app.listen({ port: 0, host: '127.0.0.1' });
  });
  afterEach(async () => {
    for (const socket of sockets) socket.terminate();
    await app.close();
    // However it went, and whatever was logged.
    expect(log).not.toMatch(/licence|xxxx|secret/);
  });

  const at = (scheme: string, path: string) =>
    `${scheme}://127.0.0.1:${(app.server.address() as AddressInfo).port}${path}`;
  const pathOf = (service = 'tower', as = token, to = endpoint) =>
    `/pairing/${service}/token/${encodeURIComponent(as)}?endpoint=${encodeURIComponent(to)}`;
  function dial(path: string): WebSocket {
    const socket = new WebSocket(at('ws', path));
    sockets.push(socket);
    return socket;
  }
  async function refusalOf(path: string): Promise<[number, string]> {
    const [code, reason] = (await once(dial(path), 'close')) as [number, Buffer];
    return [code, reason.toString()];
  }

  it('lets in who has the token of its endpoint, and sends requests there', async () => {
    const platform = new PairedPlatform(dial(pathOf()));
    await platform.until(() => platform.pairing !== undefined);
    expect(platform.pairing).toMatchObject({ pairingId: 'pair1', publicKey: 'key' });
    const request = { method: 'GET', uri: `${endpoint}/x`, auth: null } as const;
    const { status } = await channel.request(endpoint, request, new AbortController().signal);
    expect([status, channel.states()[0]?.state]).toEqual([200, 'connected']);
    expect(onRefused).not.toHaveBeenCalled();
    expect(JSON.parse(log.trim().split('\n').at(-1) ?? '')).toMatchObject({ endpoint, address: '127.0.0.1' });
  });

  it.each([
    ['another token', pathOf('tower', 'secret'), endpoint],
    ['another endpoint', pathOf('tower', token, 'https://evil.example.com/a'), 'https://evil.example.com/a'],
    ['another service', pathOf('wave'), endpoint],
    [
      'a login in the endpoint',
      pathOf('tower', token, 'https://u:secret@evil.example.com/a?k=secret'),
      'https://evil.example.com/a',
    ],
    ['no URL', pathOf('tower', token, 'secret\n{"level":60}'), '(no URL)'],
    ['no endpoint', `/pairing/tower/token/${encodeURIComponent(token)}`, '(no URL)'],
    ['no token', '/pairing/tower/token/', '(no URL)'],
    ['half a character', '/pairing/tower/token/licence%25?endpoint=%', '(no URL)'],
  ])('refuses %s without a word about what was wrong', async (_, path, shown) => {
    expect(await refusalOf(path)).toEqual([1008, 'The pairing is refused.']);
    expect(onRefused).toHaveBeenCalledOnce();
    const lines = log.split('\n').filter((line) => line.includes('refused'));
    expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
      { level: 40, address: '127.0.0.1', endpoint: shown },
    ]);
    expect(channel.states()[0]?.state).toBe('waiting');
  });

  it('shortens the endpoint in the log', async () => {
    await refusalOf(pathOf('tower', 'a', `https://evil.example.com/${'a'.repeat(3000)}`));
    expect(log).toMatch(/evil\.example\.com\/a{75}"/);
  });

  it('sends away who may not try, whatever the token', async () => {
    mayTry = false;
    expect((await refusalOf(pathOf()))[0]).toBe(1013);
    expect(onRefused).not.toHaveBeenCalled();
    mayTry = true;
    const platform = new PairedPlatform(dial(pathOf()));
    await platform.until(() => platform.pairing !== undefined);
  });

  it('tells a plain request that this is for WebSockets', async () => {
    const reply = await fetch(at('http', pathOf()));
    expect([reply.status, reply.headers.get('upgrade')]).toEqual([426, 'websocket']);
    expect(await reply.json()).toMatchObject({
      code: 'invalid_request',
      message: expect.any(String) as string,
    });
    const other = await fetch(at('http', '/pairing/licence'));
    expect(other.status).toBe(404);
    expect(await other.text()).not.toMatch(/licence/);
    expect(onRefused).not.toHaveBeenCalled();
  });

  it('closes a socket that sends a frame of more than a megabyte', async () => {
    const platform = new PairedPlatform(dial(pathOf()));
    await platform.until(() => platform.pairing !== undefined);
    platform.send(`"${'x'.repeat(1024 * 1024)}"`);
    expect((await platform.closed)[0]).toBe(1009);
  });

  it('closes sockets when the service ends, also those that do not answer', async () => {
    const platform = new PairedPlatform(dial(pathOf()));
    await platform.until(() => platform.pairing !== undefined);
    const deaf = dial(pathOf());
    await once(deaf, 'message');
    deaf.pause();
    await app.close();
    expect((await platform.closed)[0]).toBe(1001);
  });
});
