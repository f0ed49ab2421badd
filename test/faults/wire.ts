import { once } from 'node:events';
import type http from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** An answer to be written, in one of several ways. */
export interface Script {
  status: number;
  headers: http.OutgoingHttpHeaders;
  body: Buffer;
  /** So many bytes of the body, and then nothing more: it is not ended. */
  stopAt?: number;
  /** In small pieces over so many milliseconds, unless `until` comes first. */
  over?: number;
  until?: Promise<unknown>;
}

/** Pieces of a body that drips. */
const pieces = 20;

/** Writes an answer. Resolves when what it has to write is in the kernel's hands. */
export async function play(response: http.ServerResponse, script: Script): Promise<void> {
  const { status, headers, body, stopAt, over, until } = script;
  response.writeHead(status, headers);
  if (over !== undefined) {
    const size = Math.max(1, Math.ceil(body.length / pieces));
    const hurry = { isDue: false };
    void until?.then(() => (hurry.isDue = true));
    for (let at = 0; at < body.length; at += size) {
      await flush(response, body.subarray(at, at + size));
      if (!hurry.isDue) await Promise.race([sleep(over / pieces), until]);
    }
  } else if (stopAt !== undefined) {
    response.flushHeaders();
    return flush(response, body.subarray(0, stopAt));
  }
  const rest = over === undefined ? body : undefined;
  const closed = once(response, 'close');
  response.end(rest);
  await closed;
}

function flush(response: http.ServerResponse, bytes: Buffer): Promise<void> {
  if (bytes.length === 0 || response.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const finish = () => {
      response.off('close', finish);
      resolve();
    };
    response.once('close', finish);
    response.write(bytes, finish);
  });
}

export async function collect(stream: http.IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Reads a request's body until it has so many bytes or ends, and leaves the rest unread. */
export function takeBytes(request: http.IncomingMessage, wanted: number): Promise<void> {
  return new Promise((resolve) => {
    let got = 0;
    const finish = () => {
      request.off('data', take);
      request.pause();
      resolve();
    };
    const take = (chunk: Buffer) => {
      got += chunk.length;
      if (got >= wanted) finish();
    };
    request.on('data', take);
    request.once('end', finish);
    request.once('close', finish);
  });
}

/** The same bytes with one bit changed; an empty body has none. */
export function flipped(body: Buffer, at: number, bit: number): Buffer {
  const copy = Buffer.from(body);
  if (copy.length > 0) {
    const place = at % copy.length;
    copy[place] = (copy[place] as number) ^ (1 << (bit & 7));
  }
  return copy;
}

/** Ends a connection: `hard` with RST, else with FIN. */
export function die(socket: Socket, hard: boolean): void {
  if (hard) socket.resetAndDestroy();
  else socket.destroy();
}
