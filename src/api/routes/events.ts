import { Readable } from 'node:stream';
import { z } from 'zod';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { asMirrorError, MirrorError } from '../../core/errors.ts';
import { formatBlock } from '../../lib/sse.ts';
import type { MirrorEvent, Told } from '../../mirror/feed.ts';
import { errorAnswer } from '../../wire/error.ts';
import {
  allStreamHeaders,
  mirrorEvent,
  type MirrorEventView,
  mirrorStreamHeaders,
} from '../../wire/event.ts';
import { idParams } from '../../wire/id.ts';
import type { App, Dependencies } from '../app.ts';
import { findMirror, toWait } from './mirrors.ts';

const errors = { '4xx': errorAnswer, '5xx': errorAnswer };
const shared = {
  tags: ['Mirrors'],
  security: [{ key: [] }],
  response: {
    200: {
      description: 'A stream of server-sent events; `event` is the type, `data` is this',
      content: { 'text/event-stream': { schema: mirrorEvent } },
    },
    ...errors,
  },
};

/** Milliseconds after which a client that has lost its stream comes again. */
const retry = 1000;

/** Bytes that are kept for a reader who is behind, beside what its connection holds. */
const readAhead = 16 * 1024;

/** Live events. See docs/events.md. */
export function registerEvents(app: App, { service, feeds, auth, streams }: Dependencies): void {
  /**
   * Answers with what a feed tells, in the reader's time: nothing is read of the feed before the reader has taken what
   * was. The first thing is waited for before the answer begins, so that its failure is an answer of its own.
   */
  async function send<Place>(
    request: FastifyRequest,
    reply: FastifyReply,
    tenant: string,
    feed: (signal: AbortSignal) => AsyncGenerator<Told<Place>>,
    format: (place: Place) => string,
  ): Promise<FastifyReply> {
    const stream = streams.open(request, reply, tenant, () => auth.isRefused(request));
    try {
      const told = feed(stream.signal);
      const first = await told.next();
      if (first.done) {
        stream.close();
        // Ends the tries of an EventSource: there is nothing to come.
        return await reply.code(204).send();
      }
      const blocks = async function* () {
        yield `retry: ${retry}\n\n`;
        try {
          for (let next: IteratorResult<Told<Place>, unknown> = first; !next.done; next = await told.next()) {
            stream.taken();
            yield blockOf(next.value, format);
          }
        } catch (caught) {
          // The answer has begun: all that can be done is to end it. Whoever comes again is told why.
          if (asMirrorError(caught).code === 'internal') request.log.error({ err: caught });
        } finally {
          await told.return(undefined);
        }
      };
      return await reply
        .header('content-type', 'text/event-stream; charset=utf-8')
        .header('cache-control', 'no-store')
        // Proxies (nginx) would keep events until they have a buffer full.
        .header('x-accel-buffering', 'no')
        .send(Readable.from(blocks(), { objectMode: false, highWaterMark: readAhead }));
    } catch (error) {
      stream.close();
      throw error;
    }
  }

  app.get(
    '/v1/mirrors/:id/events',
    {
      // It would be answered by reading a stream to its end.
      exposeHeadRoute: false,
      schema: {
        ...shared,
        summary: 'Live events of one mirror',
        description:
          'From its beginning, or behind `Last-Event-ID`, until it has ended; then the stream ends.',
        params: idParams,
        headers: mirrorStreamHeaders,
        response: { ...shared.response, 204: z.null().describe('It has ended, and all was told') },
      },
    },
    async (request, reply) => {
      const { tenant } = await auth.byHeader(request);
      const { id } = await findMirror(service, request.params.id);
      const place = request.headers['last-event-id'];
      const after = place ? Number(place) : undefined;
      return send(request, reply, tenant, (signal) => feeds.ofMirror(id, after, signal), String);
    },
  );

  app.get(
    '/v1/events',
    {
      exposeHeadRoute: false,
      schema: {
        ...shared,
        summary: 'Live events of all mirrors',
        description:
          'Of those that the caller has asked for; for an administrator, of all. From now on, or behind `Last-Event-ID`. ' +
          'The stream does not end.',
        headers: allStreamHeaders,
      },
    },
    async (request, reply) => {
      const caller = await auth.byHeader(request);
      const [xid, id] = (request.headers['last-event-id'] || undefined)?.split('-') ?? [];
      const after = xid === undefined ? undefined : { xid, id: Number(id) };
      if (after && !(await feeds.isPast(after)))
        throw new MirrorError('invalid_request', 'Last-Event-ID is of no event of this database.', {
          remedy: 'Connect without it, and look at GET /v1/mirrors for what was missed.',
        });
      return send(
        request,
        reply,
        caller.tenant,
        (signal) => feeds.ofCaller(caller, after, signal),
        (place) => `${place.xid}-${place.id}`,
      );
    },
  );
}

function blockOf<Place>({ event, place }: Told<Place>, format: (place: Place) => string): string {
  return formatBlock({
    ...(place !== undefined && { id: format(place) }),
    ...(event && { event: event.type, data: JSON.stringify(toView(event)) }),
  });
}

function toView(event: MirrorEvent): MirrorEventView {
  const common = { mirror: event.mirrorId, at: event.at.toISOString() };
  if (event.type === 'layer') {
    const { type, digest, size, state } = event;
    return { type, ...common, digest, size, state };
  }
  if (event.type === 'progress') {
    const { type, phase, progress } = event;
    return { type, ...common, ...(phase && { phase }), ...progress };
  }
  const { type, state, attempts, progress, failure, wait, exitCode } = event;
  return {
    ...{ type, ...common, state, attempts, progress },
    ...(failure && { failure }),
    ...(wait && { wait: toWait(wait) }),
    ...(exitCode !== undefined && { exitCode }),
  };
}
