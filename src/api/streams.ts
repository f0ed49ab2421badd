import type { FastifyReply, FastifyRequest } from 'fastify';
import { MirrorError } from '../core/errors.ts';

/** The answers of this process that do not end by themselves. */
export interface Streams {
  /**
   * Makes room for one. It ends (its signal is aborted) with its connection, with the service, and when `isRefused` says
   * that its caller may not be here any more, which is asked now and then.
   * @throws MirrorError `too_many_requests` or `too_many_streams` where there is no room.
   */
  open(
    request: FastifyRequest,
    reply: FastifyReply,
    tenant: string,
    isRefused: () => Promise<boolean>,
  ): OpenStream;
  /** Asks of all whether their callers may still be here. */
  recheck(): void;
  /** Ends all, and opens none any more. */
  close(): void;
}

export interface OpenStream {
  signal: AbortSignal;
  /** Its reader has taken something. */
  taken(): void;
  /** Is called when it can't be answered after all; else it closes with its connection. */
  close(): void;
}

export interface StreamsOptions {
  perProcess?: number;
  perTenant?: number;
  /** Milliseconds between two questions whether a caller may still be here. */
  checkEvery?: number;
  /** Milliseconds after which one whose reader takes nothing is ended: it holds a place. */
  patience?: number;
}

/** Milliseconds that a reader has to take the end of its stream when it is told to go. */
const farewell = 500;

export function createStreams({
  perProcess = 1000,
  perTenant = 100,
  checkEvery = 15_000,
  patience = 60_000,
}: StreamsOptions = {}): Streams {
  const open = new Map<() => void, () => void>();
  const counts = new Map<string, number>();
  let closed = false;

  function refuseWhereFull(tenant: string): void {
    if ((counts.get(tenant) ?? 0) >= perTenant)
      throw new MirrorError(
        'too_many_requests',
        `This access token has ${perTenant} event streams open, which is as many as it may have.`,
        { remedy: 'Close one, or read the events of all mirrors from one stream: GET /v1/events.' },
      );
    if (closed || open.size >= perProcess)
      throw new MirrorError(
        'too_many_streams',
        closed
          ? 'The service is stopping.'
          : `This service has ${perProcess} event streams open, which is as many as it may have.`,
      );
  }

  return {
    open(request, reply, tenant, isRefused) {
      refuseWhereFull(tenant);
      const stop = new AbortController();
      const { raw } = reply;
      let takenAt = performance.now();

      function end(): void {
        if (stop.signal.aborted) return;
        stop.abort();
        // Whoever does not read would never see the end, and its connection stay.
        setTimeout(() => raw.destroy(), farewell).unref();
      }
      async function check(): Promise<void> {
        if (performance.now() - takenAt > patience) return void raw.destroy();
        if (await isRefused()) end();
      }
      const ask = () => void check().catch((error: unknown) => request.log.error({ err: error }));
      const timer = setInterval(ask, checkEvery);

      function close(): void {
        if (!open.delete(end)) return;
        clearInterval(timer);
        const left = (counts.get(tenant) ?? 1) - 1;
        if (left > 0) counts.set(tenant, left);
        else counts.delete(tenant);
        stop.abort();
      }
      open.set(end, ask);
      counts.set(tenant, (counts.get(tenant) ?? 0) + 1);
      if (raw.closed) close();
      else raw.once('close', close);
      return { signal: stop.signal, taken: () => void (takenAt = performance.now()), close };
    },
    recheck() {
      for (const ask of open.values()) ask();
    },
    close() {
      closed = true;
      for (const end of open.keys()) end();
    },
  };
}
