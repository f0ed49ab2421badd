import { EventEmitter, once } from 'node:events';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { describe, expect, it } from 'vitest';
import { createStreams, type Streams } from './streams.ts';

/** A connection, as far as a stream knows it. */
function connection() {
  const raw = Object.assign(new EventEmitter(), {
    closed: false,
    destroy() {
      raw.closed = true;
      raw.emit('close');
    },
  });
  return raw;
}

const never = () => Promise.resolve(false);
function open(streams: Streams, tenant: string, isRefused = never) {
  const raw = connection();
  const request = { log: { error: () => undefined } } as unknown as FastifyRequest;
  const stream = streams.open(request, { raw } as unknown as FastifyReply, tenant, isRefused);
  return { raw, ...stream };
}

describe('open streams', () => {
  it('are counted by tenant and in all, and make room when they close', () => {
    const streams = createStreams({ perProcess: 3, perTenant: 2 });
    const first = open(streams, 'a');
    open(streams, 'a');
    expect(() => open(streams, 'a')).toThrow(
      expect.objectContaining({ code: 'too_many_requests', retryable: true }),
    );
    open(streams, 'b');
    expect(() => open(streams, 'c')).toThrow(
      expect.objectContaining({ code: 'too_many_streams', retryable: true }),
    );
    first.raw.destroy();
    first.close();
    open(streams, 'a');
    expect(() => open(streams, 'c')).toThrow(/as many as it may have/);
  });

  it('take no place of a connection that has gone before', () => {
    const streams = createStreams({ perProcess: 1 });
    const raw = connection();
    raw.destroy();
    const gone = streams.open({} as FastifyRequest, { raw } as unknown as FastifyReply, 'a', never);
    expect(gone.signal.aborted).toBe(true);
    open(streams, 'a');
  });

  it('end when their caller is refused, asked now and then or at once', async () => {
    const streams = createStreams({ checkEvery: 5 });
    let refused = false;
    const stream = open(streams, 'a', () => Promise.resolve(refused));
    const ended = once(stream.signal, 'abort');
    refused = true;
    await ended;
    const rare = createStreams();
    const other = open(rare, 'a', () => Promise.resolve(true));
    const gone = once(other.signal, 'abort');
    rare.recheck();
    await gone;
  });

  it('go on where it can not be told whether their caller is refused', async () => {
    const streams = createStreams({ checkEvery: 1 });
    let asked = 0;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const stream = open(streams, 'a', () => {
      if (++asked === 3) resolve(undefined);
      return Promise.reject(new Error('the database is away'));
    });
    await promise;
    expect(stream.signal.aborted).toBe(false);
    stream.raw.destroy();
  });

  it('end when nobody reads them for long', async () => {
    const streams = createStreams({ checkEvery: 5, patience: 50 });
    const idle = open(streams, 'a');
    const read = open(streams, 'a');
    const reading = setInterval(read.taken, 5);
    await once(idle.raw, 'close');
    clearInterval(reading);
    expect(read.signal.aborted).toBe(false);
    expect(idle.signal.aborted).toBe(true);
    read.raw.destroy();
  });

  it('end with the service, also those that nobody reads, and no more are opened', async () => {
    const streams = createStreams();
    const stream = open(streams, 'a');
    const gone = once(stream.raw, 'close');
    streams.close();
    expect(stream.signal.aborted).toBe(true);
    expect(() => open(streams, 'a')).toThrow('The service is stopping.');
    await gone;
  });
});
