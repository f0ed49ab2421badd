import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Call, readCall, type Side } from './calls.ts';
import type { Rule } from './fault.ts';
import { loseAt } from './loss.ts';
import { createTokenGate, type TokenGate, type TokenOptions } from './tokens.ts';
import { collect, die, flipped, play, takeBytes } from './wire.ts';

/** A rule in force. */
export interface ActiveRule extends Rule {
  /** How many calls it has met. */
  hits: number;
}

/** Something that is done when a call comes; the call waits for it. */
export interface Trigger {
  kinds: Rule['kinds'];
  /** How many calls that fit are spared first. */
  skip: number;
  /** Before the registry hears of the call, in the middle of its answer, or after its answer's last byte. */
  moment: 'arrival' | 'middle' | 'answered';
  run: (call: Call) => Promise<void>;
}

/** What the proxy can have done to the registry behind it. */
export interface Upstream {
  host: string;
  pause(): Promise<void>;
  start(): Promise<void>;
  /** Fills its disk, or makes room again; absent where no disk can be filled. */
  fill?: (full: boolean) => Promise<void>;
}

export interface ProxyOptions {
  side: Side;
  upstream: Upstream;
  /** Asks for a login and tokens, if given. */
  tokens?: TokenOptions;
}

/** A proxy that speaks a registry's API and shows faults. */
export interface FaultProxy {
  side: Side;
  host: string;
  login: TokenGate | undefined;
  /** Every call so far, in order, with what was done to it. */
  log: string[];
  add(rule: Rule): ActiveRule;
  on(trigger: Trigger): void;
  /** Ends all faults; calls that stand still go on. Resolves when the registry is up and has room. */
  mend(): Promise<void>;
  stop(): Promise<void>;
}

/** Gets a whole answer, to do with it what it likes. */
type Handle = (answer: { status: number; headers: http.OutgoingHttpHeaders; body: Buffer }) => Promise<void>;

/** What docker-registry 2.8.2 answers when its disk is full (seen on a tmpfs of 4 MB). */
export const fullDiskAnswer = JSON.stringify({
  errors: [
    {
      code: 'UNKNOWN',
      message: 'unknown error',
      detail: 'write /var/lib/registry/docker/registry/v2/data: no space left on device',
    },
  ],
});

export async function startFaultProxy({ side, upstream, tokens }: ProxyOptions): Promise<FaultProxy> {
  const rules: ActiveRule[] = [];
  const triggers: Trigger[] = [];
  const log: string[] = [];
  const started = performance.now();
  const sockets = new Set<Socket>();
  const seen = new Set<string>();
  let mended = Promise.withResolvers<undefined>();
  let restarting: Promise<void> = Promise.resolve();
  let full = false;
  let stopped = false;
  let host = '';
  const login = tokens && createTokenGate(() => host, tokens);
  const [hostname, upstreamPort] = upstream.host.split(':');

  const server = http.createServer({ keepAlive: true, requestTimeout: 0 });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('request', (request, response) => {
    const call = readCall(request.method ?? '', request.url ?? '');
    response.on('error', () => undefined);
    serve(call, request, response).catch(() => request.socket.destroy());
  });

  function note(call: Call, what: string): void {
    const at = Math.round(performance.now() - started);
    log.push(`${at} ms ${side} ${call.method} ${call.path.replace(/\?.*/, '')} ${what}`.trim());
  }

  function ruleFor(call: Call): ActiveRule | undefined {
    let met: ActiveRule | undefined;
    const asked = `${call.method} ${call.path}`;
    const again = seen.has(asked);
    seen.add(asked);
    for (const rule of rules) {
      if (rule.times <= 0 || !fits(rule, call)) continue;
      // What vanishes was there once.
      if (rule.fault.kind === 'vanish' && !again) continue;
      if (rule.skip > 0) rule.skip--;
      else met ??= rule;
    }
    if (!met) return undefined;
    met.times--;
    met.hits++;
    return met;
  }

  async function fillDisk(wanted: boolean): Promise<void> {
    if (full === wanted) return;
    full = wanted;
    await upstream.fill?.(wanted);
  }

  async function serve(call: Call, request: http.IncomingMessage, response: http.ServerResponse) {
    const fit = triggers.filter((trigger) => trigger.kinds.includes(call.kind));
    const due = fit.filter((trigger) => trigger.skip-- === 0);
    const at = (moment: Trigger['moment']) => due.filter((trigger) => trigger.moment === moment);
    for (const { run } of at('arrival')) await run(call);
    if (request.socket.destroyed) return note(call, '(its caller is gone)');
    if (login) {
      const asked = call.kind === 'token';
      const { challenge } = asked ? {} : login.check(call, request.headers.authorization);
      if (challenge !== undefined) {
        note(call, '401');
        request.resume();
        return void response
          .writeHead(401, { 'www-authenticate': challenge, 'content-type': 'application/json' })
          .end('{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":null}]}');
      }
    }
    const rule = ruleFor(call);
    if (full && rule?.fault.kind !== 'full-disk' && diskRules().every(({ times }) => times <= 0))
      await fillDisk(false);
    if (!rule) {
      note(call, '');
      const middle = at('middle');
      if (middle.length > 0)
        await forward(call, request, response, async (answer) => {
          const half = Math.floor(answer.body.length / 2);
          await play(response, { ...answer, stopAt: half });
          for (const { run } of middle) await run(call);
          response.end(answer.body.subarray(half));
        });
      else await forward(call, request, response);
    } else {
      note(call, `← ${rule.fault.kind}`);
      await harm(rule, call, request, response);
    }
    for (const { run } of at('answered')) await run(call);
  }

  const diskRules = () => rules.filter(({ fault }) => fault.kind === 'full-disk');

  async function harm(
    { fault }: ActiveRule,
    call: Call,
    request: http.IncomingMessage,
    response: http.ServerResponse,
  ): Promise<void> {
    const { socket } = request;
    switch (fault.kind) {
      case 'latency':
        await Promise.race([sleep(fault.ms, undefined, { ref: false }), mended.promise]);
        return forward(call, request, response);
      case 'reset':
        if (fault.at === 'request') await takeBytes(request, fault.after);
        if (fault.at === 'arrival' || fault.at === 'request') return die(socket, fault.hard);
        return forward(call, request, response, async (answer) => {
          if (fault.at === 'answer') await play(response, { ...answer, stopAt: fault.after });
          die(socket, fault.hard);
        });
      case 'truncate':
        return forward(call, request, response, async (answer) => {
          const body = answer.body.subarray(0, fault.after);
          if (fault.length === 'short') {
            await play(response, { ...answer, stopAt: fault.after });
            socket.end();
            return;
          }
          const headers = { ...answer.headers };
          delete headers['content-length'];
          if (fault.length === 'consistent') headers['content-length'] = String(body.length);
          await play(response, { ...answer, body, headers });
        });
      case 'flip':
        if (fault.where === 'request') {
          const body = flipped(await collect(request), fault.at, fault.bit);
          return forward(call, request, response, undefined, body);
        }
        return forward(call, request, response, async (answer) =>
          play(response, { ...answer, body: flipped(answer.body, fault.at, fault.bit) }),
        );
      case 'answer':
        request.resume();
        return void response.writeHead(fault.status, datedHeaders(fault.headers)).end(fault.body);
      case 'drip':
        return forward(call, request, response, async (answer) =>
          play(response, { ...answer, over: fault.ms, until: mended.promise }),
        );
      case 'stall':
        return forward(call, request, response, async (answer) => {
          if (fault.after >= 0) await play(response, { ...answer, stopAt: fault.after });
          await Promise.race([once(socket, 'close'), mended.promise]);
          socket.destroy();
        });
      case 'vanish': {
        request.resume();
        const code = call.kind.startsWith('manifest') ? 'MANIFEST_UNKNOWN' : 'BLOB_UNKNOWN';
        const body = `{"errors":[{"code":"${code}","message":"${code.toLowerCase().replace('_', ' ')} to registry"}]}`;
        return void response.writeHead(404, { 'content-type': 'application/json' }).end(body);
      }
      case 'forget':
        if (fault.what === 'never-stored') return pretend(call, request, response);
        return forward(call, request, response, async (answer) => {
          // Its answer is the last thing that it knows of it.
          if (answer.status === 201) await loseAt(upstream.host, call, fault.what === 'a-blob');
          await play(response, answer);
        });
      case 'full-disk':
        if (upstream.fill) {
          await fillDisk(true);
          return forward(call, request, response);
        }
        request.resume();
        return void response
          .writeHead(500, { 'content-type': 'application/json; charset=utf-8' })
          .end(fullDiskAnswer);
      case 'restart':
        restarting = restarting.then(() => restart(fault.ms));
        return restarting;
    }
  }

  /** Nothing listens while the registry is away. */
  async function restart(ms: number): Promise<void> {
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await upstream.pause();
    await closed;
    await sleep(ms);
    await upstream.start();
    if (stopped) return;
    await listen(Number(host.split(':')[1]));
  }

  /** Says that something was stored. */
  async function pretend(call: Call, request: http.IncomingMessage, response: http.ServerResponse) {
    await collect(request);
    const query = new URL(call.path, 'http://x').searchParams;
    const digest = query.get('digest') ?? (call.name?.startsWith('sha256:') ? call.name : undefined);
    const headers = {
      'content-length': '0',
      ...(digest && {
        'docker-content-digest': digest,
        location: `http://${host}/v2/${call.repository}/${call.kind === 'upload-put' ? 'blobs' : 'manifests'}/${digest}`,
      }),
    };
    response.writeHead(201, headers).end();
  }

  /** Passes a call on, and its answer back: as it comes, or whole to `handle`. */
  function forward(
    call: Call,
    request: http.IncomingMessage,
    response: http.ServerResponse,
    handle?: Handle,
    body?: Buffer,
  ): Promise<void> {
    if (login && call.kind === 'token') return grantToken(login, call, request, response, handle);
    const done = Promise.withResolvers<undefined>();
    const { method, url: path, headers } = request;
    // The Host header stays the proxy's: the registry then names the proxy in its Location headers.
    const onward = http.request({ hostname, port: upstreamPort, method, path, headers, agent: false });
    const broken = () => {
      request.socket.destroy();
      done.resolve(undefined);
    };
    onward.once('error', broken);
    onward.once('response', (answer) => {
      answer.once('error', broken);
      const status = answer.statusCode ?? 502;
      if (status >= 400) note(call, String(status));
      if (handle) {
        collect(answer)
          .then((whole) => handle({ status, headers: answer.headers, body: whole }))
          .then(() => done.resolve(undefined), broken);
        return;
      }
      response.writeHead(status, answer.headers);
      answer.pipe(response);
    });
    response.once('close', () => {
      onward.destroy();
      done.resolve(undefined);
    });
    if (body) onward.end(body);
    else request.pipe(onward);
    return done.promise;
  }

  async function listen(port: number): Promise<void> {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  }

  await listen(0);
  host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    side,
    host,
    login,
    log,
    add(rule) {
      const active = { ...rule, hits: 0 };
      rules.push(active);
      return active;
    },
    on: (trigger) => void triggers.push({ ...trigger }),
    async mend() {
      rules.length = 0;
      triggers.length = 0;
      login?.mend();
      mended.resolve(undefined);
      mended = Promise.withResolvers();
      await restarting;
      await fillDisk(false);
    },
    async stop() {
      stopped = true;
      mended.resolve(undefined);
      await restarting;
      await fillDisk(false);
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** This proxy is its registry's token server. */
async function grantToken(
  login: TokenGate,
  call: Call,
  request: http.IncomingMessage,
  response: http.ServerResponse,
  handle: Handle = (answer) => play(response, answer),
): Promise<void> {
  request.resume();
  const { status, body } = login.grant(call, request.headers.authorization);
  const headers = { 'content-type': 'application/json', 'content-length': String(body.length) };
  await handle({ status, headers, body: Buffer.from(body) });
}

function fits({ kinds, repository }: Rule, call: Call): boolean {
  if (!kinds.includes(call.kind)) return false;
  return repository === undefined || call.repository === undefined || call.repository === repository;
}

/** A date can't be planned: `Retry-After: in 1 s` becomes the date that is then. */
function datedHeaders(headers: Record<string, string>): Record<string, string> {
  const dated = Object.entries(headers).map(([name, value]) => {
    const seconds = /^in ([0-9]+) s$/.exec(value)?.[1];
    return [
      name,
      seconds === undefined ? value : new Date(Date.now() + Number(seconds) * 1000).toUTCString(),
    ];
  });
  return Object.fromEntries(dated) as Record<string, string>;
}
