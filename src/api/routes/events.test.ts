import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import fastify from 'fastify';
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import { expect, it } from 'vitest';
import type { Feeds, MirrorEvent } from '../../mirror/feed.ts';
import type { App, Dependencies } from '../app.ts';
import { createStreams } from '../streams.ts';
import { registerEvents } from './events.ts';

/** The routes on a feed of our own. */
async function serve(ofMirror: Feeds['ofMirror'], patience?: number) {
  const app = fastify().withTypeProvider<ZodTypeProvider>() as unknown as App;
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  const streams = createStreams(patience === undefined ? {} : { patience, checkEvery: 10 });
  const dependencies = {
    service: { mirror: async (id: string) => ({ id }) },
    auth: { byHeader: async () => ({ tenant: 'a', admin: false }), isRefused: async () => false },
    feeds: { ofMirror },
    streams,
  };
  registerEvents(app, dependencies as unknown as Dependencies);
  await app.listen({ port: 0, host: '127.0.0.1' });
  const { port } = app.server.address() as AddressInfo;
  const get = async () => {
    const request = http.get({ port, host: '127.0.0.1', path: '/v1/mirrors/mr-1/events', agent: false });
    const [answer] = (await once(request, 'response')) as [http.IncomingMessage];
    return answer;
  };
  return { app, get };
}

const digest = `sha256:${'a'.repeat(64)}` as const;
const layer: MirrorEvent = {
  type: 'layer',
  mirrorId: 'mr-1',
  at: new Date(),
  digest,
  size: 1,
  state: 'done',
};

/** A mirror of which there is always more to tell. */
function endless() {
  let told = 0;
  let over = false;
  const feed: Feeds['ofMirror'] = async function* (_id, _after, signal) {
    try {
      while (!signal.aborted) {
        yield { event: layer, place: ++told };
        // A turn for everything else.
        await new Promise(setImmediate);
      }
    } finally {
      over = true;
    }
  };
  return { feed, told: () => told, over: () => over };
}

/** Until a number stays as it is. */
async function settled(number: () => number): Promise<number> {
  for (let last = -1; ; last = number()) {
    await sleep(300);
    if (last === number()) return last;
  }
}

it('reads no more of a feed than its reader takes and the way holds, and ends it when the reader goes', async () => {
  const { feed, told, over } = endless();
  const { app, get } = await serve(feed);
  const answer = await get();
  const held = await settled(told);
  expect(held).toBeGreaterThan(0);
  // It goes on when the reader does.
  let taken = 0;
  answer.on('data', (chunk: Buffer) => (taken += chunk.length));
  while (told() < held * 2) await once(answer, 'data');
  expect(taken).toBeGreaterThan(0);
  answer.destroy();
  while (!over()) await sleep(10);
  await app.close();
});

it('lets a reader go who takes nothing for long', async () => {
  const { feed, over } = endless();
  const { app, get } = await serve(feed, 200);
  const answer = await get();
  while (!over()) await sleep(10);
  answer.on('error', () => undefined).destroy();
  await app.close();
});

it('answers a feed with nothing to tell with 204, and one that fails at once with its failure', async () => {
  const empty = await serve(async function* () {
    // Nothing.
  });
  const nothing = await empty.get();
  expect([nothing.statusCode, nothing.headers['content-type']]).toEqual([204, undefined]);
  await empty.app.close();
  const failing = await serve(async function* () {
    throw new Error('broken');
  });
  expect((await failing.get()).statusCode).toBe(500);
  await failing.app.close();
});
