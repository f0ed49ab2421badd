import { randomUUID } from 'node:crypto';
import {
  frameLimit,
  type ProxyAnswer,
  type ProxyRequest,
  readFrame,
  writeHeartbeat,
  writePairing,
  writeRequest,
} from './frames.ts';
import type { PublicPair } from './pairing.ts';

/** What is used of a WebSocket; those of `ws` have it. */
export interface PairedSocket {
  readonly bufferedAmount: number;
  send(text: string, done: () => void): void;
  ping(): void;
  close(code: number, reason: string): void;
  terminate(): void;
  on(event: 'message', listener: (data: { toString(): string }, isBinary: boolean) => void): unknown;
  on(event: 'close', listener: (code: number) => void): unknown;
  on(event: 'pong' | 'ping' | 'error', listener: () => void): unknown;
}

/** Why a request has no answer. */
export type Fault = 'slow' | 'closed' | 'nonsense' | 'stopped';

/** One live socket of an endpoint. */
export interface Line {
  /** The pair that was sent on it; undefined until then. */
  readonly pairingId: string | undefined;
  readonly gone: boolean;
  /** So much is waiting to be sent that nothing should be added. */
  readonly full: boolean;
  /** Tells when what was written last is sent, or the line is gone. */
  drained(): Promise<unknown>;
  /** Speaks first: sends the pair. */
  start(pair: PublicPair): void;
  /** Sends a request; its answer is taken from this socket only. */
  exchange(request: ProxyRequest, signal: AbortSignal): Promise<ProxyAnswer | Fault>;
  /** Ends it; what is under way gets the fault `closed` at once. */
  close(code: number, reason: string): void;
}

/** Milliseconds. */
export interface LineTimings {
  /** For a request's answer. */
  answer: number;
  /** Between two pings. */
  ping: number;
  /** Without a sign of life, until it is taken to be dead. */
  silence: number;
  /** For the other side's part in closing. */
  closing: number;
}

export interface LineOptions {
  socket: PairedSocket;
  timings: LineTimings;
  /** Whether the pair is still on record; asked at heartbeats. */
  isGood: (pairingId: string) => Promise<boolean>;
  /** Told once. `why` says it for a reader. */
  onGone: (why: string) => void;
  onError: (error: unknown) => void;
}

/** Bytes that may wait to be sent. */
const bufferLimit = 1024 * 1024;
/** Nonsense frames in a row until the other side is taken to speak something else. */
const nonsenseLimit = 5;

/** Listens from now on; nothing is sent before `start`. */
export function createLine({ socket, timings, isGood, onGone, onError }: LineOptions): Line {
  const outstanding = new Map<string, (outcome: ProxyAnswer | Fault) => void>();
  const { promise: ended, resolve: end } = Promise.withResolvers<undefined>();
  let pairingId: string | undefined;
  let gone = false;
  let sent: Promise<unknown> = Promise.resolve();
  let nonsense = 0;
  let checking = false;

  const pings = setInterval(() => socket.ping(), timings.ping).unref();
  const silence = setTimeout(() => {
    leave('It fell silent.');
    socket.terminate();
  }, timings.silence).unref();
  let closing: NodeJS.Timeout | undefined;

  function leave(why: string): void {
    if (gone) return;
    gone = true;
    clearInterval(pings);
    clearTimeout(silence);
    for (const settle of [...outstanding.values()]) settle('closed');
    end(undefined);
    onGone(why);
  }

  function close(code: number, reason: string): void {
    if (gone) return;
    leave(reason);
    socket.close(code, reason);
    closing = setTimeout(() => socket.terminate(), timings.closing).unref();
  }

  function write(text: string): void {
    sent = new Promise<void>((resolve) => socket.send(text, resolve));
  }

  /** Platform does not know by itself that we have lost its pair. */
  async function check(id: string): Promise<void> {
    if (checking) return;
    checking = true;
    try {
      if (!(await isGood(id))) close(1012, 'The pairing is out of date: pair anew.');
    } catch (error) {
      // A database that is away for a moment is no reason to lose the socket.
      onError(error);
    } finally {
      checking = false;
    }
  }

  function take(text: string): void {
    const frame = readFrame(text);
    const settle = frame?.type === 'answer' ? outstanding.get(frame.msgId) : undefined;
    if (!frame || (frame.type === 'answer' && !frame.answer)) {
      settle?.('nonsense');
      if (++nonsense >= nonsenseLimit) close(1007, 'What it sends makes no sense.');
      return;
    }
    nonsense = 0;
    // An answer that nobody waits for is late, or a guess.
    if (frame.type === 'answer' && frame.answer) settle?.(frame.answer);
    if (frame.type !== 'heartbeat' || pairingId === undefined) return;
    // Who does not read what we send gets no more of it.
    if (socket.bufferedAmount <= bufferLimit) write(writeHeartbeat(frame.msgId));
    void check(pairingId);
  }

  socket.on('message', (data, isBinary) => {
    if (gone) return;
    silence.refresh();
    const text = data.toString();
    if (text.length > frameLimit) close(1009, 'A frame is too large.');
    else take(isBinary ? '' : text);
  });
  socket.on('ping', () => void silence.refresh());
  socket.on('pong', () => void silence.refresh());
  // A close follows; without a listener it would end the process.
  socket.on('error', () => undefined);
  socket.on('close', (code) => {
    clearTimeout(closing);
    leave(`It closed its connection (${code}).`);
  });

  return {
    get pairingId() {
      return pairingId;
    },
    get gone() {
      return gone;
    },
    get full() {
      return socket.bufferedAmount > bufferLimit;
    },
    // One turn of the event loop more: whoever finds it full even so must not spin.
    drained: () => Promise.race([sent, ended]).then(() => new Promise(setImmediate)),
    start(pair) {
      pairingId = pair.id;
      write(writePairing(randomUUID(), pair));
    },
    exchange: (request, signal) =>
      new Promise((resolve) => {
        if (gone) return resolve('closed');
        const msgId = randomUUID();
        const stop = () => settle('stopped');
        const timer = setTimeout(() => settle('slow'), timings.answer);
        const settle = (outcome: ProxyAnswer | Fault) => {
          outstanding.delete(msgId);
          clearTimeout(timer);
          signal.removeEventListener('abort', stop);
          resolve(outcome);
        };
        outstanding.set(msgId, settle);
        signal.addEventListener('abort', stop);
        write(writeRequest(msgId, request));
      }),
    close,
  };
}
