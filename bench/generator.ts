import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Load, Plan } from './load.ts';

// The load generator's process: gets a plan, sends back what it measured. Bare sockets, since any HTTP client in
// JavaScript costs more for each request than the server that it is to measure.

/** Connections that are opened at the same time: fewer than a server's backlog (Node: 511). */
const opening = 200;

/** A connection that sends what it is told and hears whole answers. */
interface Line {
  send(): void;
  close(): void;
}

function createLine(socket: Socket, request: Buffer, onAnswer: (status: string, body: string) => void): Line {
  let received = '';
  let waiting = false;
  const end = (status: string, body: string) => {
    received = '';
    waiting = false;
    onAnswer(status, body);
  };
  socket.setNoDelay(true);
  socket.on('data', (chunk) => {
    received += chunk.toString('latin1');
    const head = received.indexOf('\r\n\r\n');
    if (head < 0) return;
    const at = received.indexOf('content-length: ');
    const length = at < 0 || at > head ? 0 : parseInt(received.slice(at + 16, at + 24), 10);
    if (received.length < head + 4 + length) return;
    end(received.slice(9, 12), received.slice(head + 4));
  });
  socket.on('error', () => undefined);
  socket.on('close', () => waiting && end('none', 'The connection was closed.'));
  return {
    send() {
      waiting = true;
      if (socket.destroyed) end('none', 'The connection was closed.');
      else socket.write(request);
    },
    close() {
      waiting = false;
      socket.destroy();
    },
  };
}

async function openSockets({ port, connections }: Plan): Promise<Socket[]> {
  const sockets: Socket[] = [];
  while (sockets.length < connections) {
    const more = Array.from({ length: Math.min(opening, connections - sockets.length) }, () =>
      connect(port, '127.0.0.1'),
    );
    await Promise.all(more.map((socket) => once(socket, 'connect')));
    sockets.push(...more);
  }
  return sockets;
}

async function generate(plan: Plan): Promise<Load> {
  const { port, path, body, seconds, warmUp = 0 } = plan;
  const head = [
    `POST ${path} HTTP/1.1`,
    `host: 127.0.0.1:${port}`,
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
  ];
  const request = Buffer.from(`${head.join('\r\n')}\r\n\r\n${body}`);
  const sockets = await openSockets(plan);
  const times: number[] = [];
  const bodies: string[] = [];
  let failures = 0;
  let received = 0;
  let example: string | undefined;
  let open = sockets.length;
  const { promise: finished, resolve: finish } = Promise.withResolvers<undefined>();

  const started = performance.now();
  const countFrom = started + warmUp * 1000;
  const sendUntil = seconds === undefined ? 0 : countFrom + seconds * 1000;
  let cpu = process.cpuUsage();
  let last = started;
  const lines = sockets.map((socket) => {
    let sent = 0;
    const send = () => {
      sent = performance.now();
      line.send();
    };
    const line = createLine(socket, request, (status, answer) => {
      const now = performance.now();
      last = now;
      received++;
      if (now >= countFrom) {
        if (times.length === 0) cpu = process.cpuUsage();
        times.push(now - sent);
        if (seconds === undefined) bodies.push(answer);
        if (status !== '200') {
          failures++;
          example ??= `${status} ${answer}`;
        }
      }
      // A connection that is gone would fail again at once, for ever.
      if (now < sendUntil && status !== 'none') return send();
      if (--open === 0) finish(undefined);
    });
    return { send, close: line.close };
  });
  for (const { send } of lines) send();
  await finished;
  const { user, system } = process.cpuUsage(cpu);
  const took = last - countFrom;
  for (const line of lines) line.close();

  times.sort((a, b) => a - b);
  const percentile = (share: number) => times[Math.ceil(times.length * share) - 1] ?? NaN;
  const answers = bodies.map((text) => readIds(text));
  return {
    requests: times.length,
    answers: received,
    failures,
    ...(example !== undefined && { example }),
    perSecond: (times.length / took) * 1000,
    p50: percentile(0.5),
    p99: percentile(0.99),
    took,
    cpuShare: (user + system) / 1000 / took,
    buildIds: [...new Set(answers.map(({ buildId }) => buildId ?? ''))],
    requestIds: new Set(answers.map(({ requestId }) => requestId)).size,
  };
}

function readIds(text: string): { requestId?: string; buildId?: string } {
  try {
    return JSON.parse(text) as { requestId?: string; buildId?: string };
  } catch {
    return {};
  }
}

process.once('message', (plan: Plan) => {
  void generate(plan).then((load) => process.send?.(load));
});
