import websocket, { type WebSocket } from '@fastify/websocket';
import type { FastifyRequest } from 'fastify';
import { MirrorError } from '../../core/errors.ts';
import { hashKey } from '../../core/key.ts';
import type { Channel } from '../../platform/channel.ts';
import { frameLimit } from '../../platform/frames.ts';
import type { Pairings, PairingTry } from '../../platform/pairing.ts';
import type { App } from '../app.ts';
import { toAnswer } from '../errors.ts';

export interface PairingOptions {
  channel: Channel;
  pairings: Pairings;
  /** Whether this client may try at all; false: it is told to come back later. */
  mayTry?: (request: FastifyRequest) => boolean;
  /** A try was refused. */
  onRefused?: (request: FastifyRequest) => void;
}

/** Milliseconds for the other side's part in closing; after that the connection is cut. */
const closing = 1000;
const goodLimit = 1000;

/**
 * Where Seqera Platform opens its sockets: `GET /pairing/{service}/token/{token}?endpoint={url}`. To be registered
 * after all other routes: every route that comes after the plugin pays for a look whether it is a WebSocket.
 *
 * The token stands in the path, so nothing here logs a URL, and the route's own log is silent.
 */
export async function registerPairing(app: App, options: PairingOptions): Promise<void> {
  const { channel, pairings, mayTry, onRefused } = options;
  /** Hashes of tries that were let in. */
  const good = new Set<string>();
  await app.register(websocket, {
    options: { maxPayload: frameLimit },
    // Its own would log what it likes; the close that follows is heard by the channel.
    errorHandler: (_, socket) => socket.terminate(),
    // Its own would close with no reason, and wait for as long as the other side likes.
    preClose: (done) => {
      channel.close();
      done();
    },
  });
  app.route({
    method: 'GET',
    // Not /pairing/:service/token/:token: the router limits the length of a parameter, and licence tokens are long.
    url: '/pairing/*',
    logLevel: 'silent',
    schema: { hide: true },
    handler: (request, reply) => {
      if (!readTry(request.raw.url)) throw new MirrorError('unknown_id', 'There is nothing here.');
      const error = new MirrorError('invalid_request', 'Seqera Platform pairs here, by WebSocket.', {
        remedy: 'Name this service in WAVE_SERVER_URL on the side of Seqera Platform.',
      });
      void reply.code(426).header('upgrade', 'websocket');
      return toAnswer(error);
    },
    wsHandler: (socket, request) => {
      const attempt = readTry(request.raw.url);
      const name = hashKey(JSON.stringify([request.ip, attempt]));
      // Others at its address who guess must not lock out who has paired from there before.
      if (mayTry && !mayTry(request) && !good.has(name))
        return turnAway(socket, 1013, 'Too many tries: come back later.');
      const endpoint = attempt && pairings.admit(attempt);
      if (endpoint === undefined) {
        onRefused?.(request);
        const { why, endpoint: ours } = attempt
          ? pairings.whyRefused(attempt)
          : { why: 'It is no such URL.' };
        if (ours !== undefined) channel.note(ours, `A pairing was refused. ${why}`);
        app.log.warn(
          { address: request.ip, endpoint: ours ?? showEndpoint(attempt?.endpoint), why },
          'A try to pair as an installation of Seqera Platform was refused',
        );
        // Platform is not told why: whoever tries must not learn which part was right.
        return turnAway(socket, 1008, 'The pairing is refused.');
      }
      if (good.size >= goodLimit) good.clear();
      good.add(name);
      app.log.info({ address: request.ip, endpoint }, 'Seqera Platform has opened a socket');
      return channel.open(endpoint, socket);
    },
  });
}

function turnAway(socket: WebSocket, code: number, reason: string): void {
  socket.close(code, reason);
  const timer = setTimeout(() => socket.terminate(), closing);
  socket.once('close', () => clearTimeout(timer));
}

/** Reads a try from the URL; undefined for what is none. */
function readTry(target = ''): PairingTry | undefined {
  const [path = '', query = ''] = target.split(/\?(.*)/s);
  const [, service, token] = /^\/pairing\/([^/]+)\/token\/([^/]+)\/?$/.exec(path) ?? [];
  if (service === undefined || token === undefined) return undefined;
  const endpoint = new URLSearchParams(query).get('endpoint') ?? '';
  try {
    return { service: decodeURIComponent(service), token: decodeURIComponent(token), endpoint };
  } catch {
    return undefined;
  }
}

/** A stranger's words, for the log: origin and path only, since the rest may hold a login. */
function showEndpoint(endpoint = ''): string {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  return url ? `${url.protocol}//${url.host}${url.pathname.replace(/\/+$/, '')}`.slice(0, 100) : '(no URL)';
}
