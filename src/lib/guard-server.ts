import { chmod } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { finished, pipeline } from 'node:stream';
import {
  type AddressPolicy,
  AddressRefused,
  checkedLookup,
  checkLiteral,
  hostOf,
  type Lookup,
} from './address.ts';
import type { ProxySettings } from './http.ts';
import { proxyFor } from './proxy.ts';

/** A forward proxy that holds the connections of others to the same policy as ours. */
export interface GuardServer {
  /** On 127.0.0.1; undefined on a unix socket. */
  port: number | undefined;
  /** Lets in who knows the secret (as the password of the user `dray`). */
  admit(secret: string): void;
  /**
   * Lets them in no more and breaks off what they have left open.
   * @returns what was said when the first of their connections was refused
   */
  end(secret: string): string | undefined;
  /** Breaks off everything. */
  close(): Promise<void>;
}

export interface GuardServerOptions {
  policy: AddressPolicy;
  /** The operator's own proxy, to go on through. */
  proxy: ProxySettings;
  lookup?: Lookup;
  /** Path of a unix socket to listen on, instead of a port. */
  socket?: string | undefined;
}

interface Visitor {
  refusal?: string;
  open: Set<Socket>;
}

/** Milliseconds. Nothing limits how long a tunnel may be silent: a registry can take minutes to commit a blob. */
const timeouts = { headers: 5000, connect: 10_000, attempt: 2000, keepAlive: 120_000, probe: 30_000 };
/** Connections of one child. Skopeo has up to six layers under way, each on both sides. */
const openLimit = 64;

export async function serveGuard({
  policy,
  proxy,
  lookup,
  socket,
}: GuardServerOptions): Promise<GuardServer> {
  const visitors = new Map<string, Visitor>();
  const sockets = new Set<Socket>();
  const server = http.createServer({
    headersTimeout: timeouts.headers,
    connectionsCheckingInterval: timeouts.headers,
    keepAliveTimeout: timeouts.keepAlive,
    // Tokens of several kilobytes are common.
    maxHeaderSize: 64 * 1024,
    // The upload of a layer is one request.
    requestTimeout: 0,
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
  });

  function visitorOf({ headers }: http.IncomingMessage): Visitor | undefined {
    const [, encoded = ''] = /^Basic (\S+)$/i.exec(headers['proxy-authorization'] ?? '') ?? [];
    const [, secret = ''] = Buffer.from(encoded, 'base64').toString().split(':');
    return visitors.get(secret);
  }

  /** Bounds what one child has open and remembers it, so that it ends with the child. */
  function note(visitor: Visitor, socket: Socket): boolean {
    if (visitor.open.has(socket)) return true;
    if (visitor.open.size >= openLimit) return false;
    visitor.open.add(socket);
    socket.once('close', () => visitor.open.delete(socket));
    return true;
  }

  function explain(error: unknown, visitor: Visitor): { status: number; text: string } {
    if (error instanceof AddressRefused) {
      visitor.refusal ??= error.message;
      return { status: 403, text: error.message };
    }
    return { status: 502, text: inWordsOfGo(error as NodeJS.ErrnoException) };
  }

  server.on('connect', (request: http.IncomingMessage, socket: Socket, head: Buffer) => {
    const refuse = ({ status, text }: { status: number; text: string }) => {
      socket.end(`HTTP/1.1 ${status} ${text}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
      // Who does not read it is not waited for.
      setTimeout(() => socket.destroy(), 1000).unref();
    };
    const visitor = visitorOf(request);
    if (!visitor) return refuse({ status: 407, text: 'This proxy is for another program' });
    if (!note(visitor, socket)) return refuse({ status: 429, text: 'Too many connections' });
    const text = `https://${request.url ?? ''}`;
    const url =
      /^[^/?#@\\]+:[0-9]+$/.test(request.url ?? '') && URL.canParse(text) ? new URL(text) : undefined;
    if (!url) return refuse({ status: 400, text: 'Bad Request' });
    open(url)
      .then((onward) => {
        if (socket.destroyed) return onward.destroy();
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
        if (head.length > 0) onward.write(head);
        // An end is passed on, and heard out on the other side; the death of one is the death of both.
        socket.pipe(onward).on('error', () => undefined);
        onward.pipe(socket);
        socket.once('close', () => onward.destroy());
        onward.once('close', () => socket.destroySoon());
      })
      .catch((error: unknown) => refuse(explain(error, visitor)));
  });

  /** Connects to where a URL leads, to an address that was checked. */
  function dial(url: URL): Socket {
    const host = hostOf(url);
    const socket = connect({
      host: bare(url.hostname),
      port: Number(/[0-9]+$/.exec(host)?.[0]),
      lookup: checkedLookup(policy, host, lookup),
      autoSelectFamilyAttemptTimeout: timeouts.attempt,
      keepAlive: true,
      keepAliveInitialDelay: timeouts.probe,
      noDelay: true,
      // What the other end still has to say is heard out after ours has ended.
      allowHalfOpen: true,
    });
    const timer = setTimeout(() => socket.destroy(timedOut()), timeouts.connect);
    socket.once('connect', () => clearTimeout(timer));
    socket.once('close', () => clearTimeout(timer));
    return socket;
  }

  /** A connection to where a tunnel leads, through the operator's proxy if there is one for it. */
  function open(url: URL): Promise<Socket> {
    return new Promise((resolve, reject) => {
      checkLiteral(policy, url);
      const via = proxyFor(url, proxy);
      if (via !== undefined) return tunnel(new URL(via), hostOf(url), resolve, reject);
      const socket = dial(url);
      socket.once('error', reject);
      socket.once('connect', () => resolve(socket));
    });
  }

  server.on('request', (request: http.IncomingMessage, response: http.ServerResponse) => {
    const refuse = ({ status, text }: { status: number; text: string }) => {
      if (response.headersSent) return void response.destroy();
      request.resume();
      response.writeHead(status, text, { 'content-type': 'text/plain' }).end(text);
    };
    const visitor = visitorOf(request);
    if (!visitor) return refuse({ status: 407, text: 'This proxy is for another program' });
    if (!note(visitor, request.socket)) return refuse({ status: 429, text: 'Too many connections' });
    const url = URL.canParse(request.url ?? '') ? new URL(request.url ?? '') : undefined;
    if (url?.protocol !== 'http:') return refuse({ status: 400, text: 'Bad Request' });
    try {
      forward(url, request, response, (error) => refuse(explain(error, visitor)));
    } catch (error) {
      refuse(explain(error, visitor));
    }
  });

  function forward(
    url: URL,
    request: http.IncomingMessage,
    response: http.ServerResponse,
    fail: (error: unknown) => void,
  ): void {
    checkLiteral(policy, url);
    const via = proxyFor(url, proxy);
    const { method = 'GET' } = request;
    // As it was written (RFC 9112, section 3.2.2): registries name themselves by it when they redirect.
    const host = /^http:\/\/(?:[^/?#@]*@)?([^/?#]+)/i.exec(request.url ?? '')?.[1] ?? url.host;
    const headers: http.OutgoingHttpHeaders = { ...endToEnd(request.headers), host };
    const asked =
      via === undefined
        ? http.request(url, { method, headers, createConnection: () => dial(url) })
        : askProxy(new URL(via), { method, headers, path: url.href });
    asked.once('response', (answer) => {
      try {
        response.writeHead(answer.statusCode ?? 502, answer.statusMessage, endToEnd(answer.headersDistinct));
      } catch (error) {
        // Node reads status lines that it does not write: thrown here, it would end the whole service.
        return fail(error);
      }
      pipeline(answer, response, () => undefined);
    });
    // Nobody asked for another protocol; without this the visitor would wait for ever.
    asked.once('upgrade', (_, socket) => {
      socket.destroy();
      fail(new Error());
    });
    asked.on('error', fail);
    // A pipeline would end the answer along with a request that was cut short by it.
    request.pipe(asked);
    finished(response, () => asked.destroy());
  }

  server.listen(socket === undefined ? { port: 0, host: '127.0.0.1' } : { path: socket });
  await new Promise<void>((resolve, reject) => {
    server.once('listening', resolve);
    server.once('error', reject);
  });
  if (socket !== undefined) await chmod(socket, 0o600);
  const { port } = server.address() as Partial<AddressInfo>;

  return {
    port,
    admit: (secret) => void visitors.set(secret, { open: new Set() }),
    end(secret) {
      const visitor = visitors.get(secret);
      visitors.delete(secret);
      for (const socket of visitor?.open ?? []) socket.destroy();
      return visitor?.refusal;
    },
    async close() {
      visitors.clear();
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** CONNECT by the operator's proxy. */
function tunnel(
  proxy: URL,
  authority: string,
  resolve: (socket: Socket) => void,
  reject: (error: unknown) => void,
): void {
  const asked = askProxy(proxy, { method: 'CONNECT', path: authority, headers: { host: authority } });
  const timer = setTimeout(() => asked.destroy(timedOut()), timeouts.connect);
  asked.once('close', () => clearTimeout(timer));
  asked.once('error', reject);
  asked.once('connect', (answer: http.IncomingMessage, socket: Socket, head: Buffer) => {
    clearTimeout(timer);
    if (answer.statusCode !== 200) {
      socket.destroy();
      return reject(Object.assign(new Error(), { code: `The proxy answered ${answer.statusCode}` }));
    }
    if (head.length > 0) socket.unshift(head);
    socket.setKeepAlive(true, timeouts.probe);
    resolve(socket);
  });
  asked.end();
}

function askProxy(proxy: URL, options: http.RequestOptions): http.ClientRequest {
  const { username, password } = proxy;
  const login = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`);
  const headers = {
    ...(options.headers as http.OutgoingHttpHeaders),
    ...((username || password) && { 'proxy-authorization': `Basic ${login.toString('base64')}` }),
  };
  const secure = proxy.protocol === 'https:';
  return (secure ? https : http).request({
    ...options,
    ...{ headers, agent: false, host: bare(proxy.hostname), port: proxy.port || (secure ? 443 : 80) },
  });
}

function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, '');
}

/** Headers without those that are for one connection (RFC 9110, section 7.6.1). */
function endToEnd(headers: NodeJS.Dict<string | string[]>): http.OutgoingHttpHeaders {
  const named = [headers['connection'] ?? []].flat().join(',').toLowerCase();
  const dropped = new Set([
    ...['connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection'],
    ...['te', 'trailer', 'upgrade', ...named.split(/[\s,]+/)],
  ]);
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !dropped.has(name)));
}

function timedOut(): NodeJS.ErrnoException {
  return Object.assign(new Error('i/o timeout'), { code: 'ETIMEDOUT' });
}

/** Go prints what stands behind the status of a failed CONNECT; whoever reads that knows Go's own words. */
function inWordsOfGo({ code = '' }: NodeJS.ErrnoException): string {
  const words: Partial<Record<string, string>> = {
    ENOTFOUND: 'no such host',
    EAI_AGAIN: 'server misbehaving',
    ECONNREFUSED: 'connection refused',
    ECONNRESET: 'connection reset by peer',
    ETIMEDOUT: 'i/o timeout',
    EHOSTUNREACH: 'no route to host',
    ENETUNREACH: 'network is unreachable',
  };
  return words[code] ?? (code || 'Bad Gateway');
}
