import { describe, expect, it } from 'vitest';
import { type ErrorCode, MirrorError } from '../core/errors.ts';
import type { MirrorView } from '../wire/mirror.ts';
import type { Brought } from './stream.ts';
import { LostSight, watch } from './watch.ts';

const { signal } = new AbortController();
const url = 'http://dray.example:9090';
const view = (state: string) => ({ state }) as MirrorView;

/** A service that gives these answers, one after the other, and the last for ever. */
function answering(...answers: (MirrorView | MirrorError)[]) {
  const mirror = async () => {
    const next = answers.length > 1 ? answers.shift() : answers[0];
    if (next instanceof MirrorError) throw next;
    return next as MirrorView;
  };
  // It is older than its event streams.
  const events = () =>
    Promise.reject(new MirrorError('unknown_id', 'There is no GET /v1/mirrors/mr-1/events.'));
  return { url, mirror, events };
}
const away = new MirrorError('refused', `No service answers at ${url}.`);

describe('watch', () => {
  it('reports until the mirror has ended, over a service that was away for a moment', async () => {
    const seen: string[] = [];
    const service = answering(view('queued'), away, view('copying'), away, view('done'));
    await watch(service, 'mr-1', ({ state }) => seen.push(state), { signal });
    expect(seen).toEqual(['queued', 'copying', 'done']);
  });

  it.each<[ErrorCode, string]>([
    ['refused', `lost the service at ${url}; the copy goes on there: dray status mr-1`],
    ['unauthenticated', `${url} tells no more: Oh; the copy goes on there: dray status mr-1`],
    ['database_unavailable', `${url} tells no more: Oh; the copy goes on there: dray status mr-1`],
  ])('does not call a mirror failed when it meets %s for too long', async (code, message) => {
    const service = answering(view('queued'), new MirrorError(code, 'Oh.'));
    const error = await watch(service, 'mr-1', () => undefined, { signal, patience: 0.3 }).catch(
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(LostSight);
    expect((error as Error).message).toBe(message);
  });

  it('says so when the service knows no such mirror any more', async () => {
    const gone = new MirrorError('unknown_id', 'There is no mirror with this id.');
    await expect(watch(answering(gone), 'mr-1', () => undefined, { signal })).rejects.toBe(gone);
  });
});

describe('watch, through event streams', () => {
  const at = new Date(0).toISOString();
  const none = { layersDone: 0, layersTotal: 0, bytesDone: 0, bytesTotal: 0 };
  const common = { mirror: 'mr-1', at };
  const state = (id: string, name: MirrorView['state'], more: object = {}): Brought => ({
    id,
    event: { type: 'state', ...common, state: name, attempts: 1, progress: none, ...more },
  });
  const progress = (bytesDone: number): Brought => ({
    event: { type: 'progress', ...common, phase: 'copying', ...none, bytesDone, bytesTotal: 9 },
  });

  /** A service whose streams bring these, one stream after the other, and its mirror as it is polled. */
  function streaming(...streams: (Brought[] | MirrorError)[]) {
    const places: (string | undefined)[] = [];
    let polls = 0;
    return {
      url,
      places,
      polls: () => polls,
      async mirror() {
        polls++;
        return { ...view('done'), progress: none };
      },
      async events(_: string, place: string | undefined) {
        places.push(place);
        const next = streams.shift() ?? [];
        if (next instanceof MirrorError) throw next;
        return (async function* () {
          yield* next;
        })();
      },
    };
  }
  const seenOf = async (service: ReturnType<typeof streaming>, patience = 60) => {
    const seen: string[] = [];
    await watch(
      service,
      'mr-1',
      ({ state: name, phase, progress: done, wait, failure }) =>
        seen.push([name, phase, done.bytesDone, wait?.host, failure?.code].filter(Boolean).join(' ')),
      { signal, patience },
    );
    return seen;
  };

  it('goes on behind the last event of a stream that was cut, and over a service that was away', async () => {
    const failure = { code: 'rate_limited', message: '', remedy: '', retryable: true };
    const service = streaming(
      [progress(0), state('1', 'queued'), state('2', 'copying'), progress(4)],
      away,
      [progress(4), state('5', 'queued', { failure, wait: { until: at, host: 'docker.io' } }), { id: '6' }],
      [state('7', 'copying'), progress(9), state('8', 'done', { progress: { ...none, bytesDone: 9 } })],
    );
    expect(await seenOf(service)).toEqual([
      ...['queued', 'copying', 'copying copying 4', 'copying copying 4', 'queued docker.io rate_limited'],
      ...['copying', 'copying copying 9', 'done 9'],
    ]);
    expect(service.places).toEqual([undefined, '2', '2', '6']);
    expect(service.polls()).toBe(0);
  });

  it('asks now and then where streams bring nothing, or where there is no room for another', async () => {
    const silent = streaming([], []);
    expect(await seenOf(silent)).toEqual(['done']);
    expect([silent.places.length, silent.polls()]).toEqual([2, 1]);
    for (const code of ['too_many_requests', 'too_many_streams'] as const) {
      const full = streaming(new MirrorError(code, 'Full.'));
      expect(await seenOf(full)).toEqual(['done']);
    }
  });

  it('loses sight of a service that stays away, and of one that turns it away', async () => {
    const gone = streaming([state('1', 'copying')], ...Array.from({ length: 20 }, () => away));
    await expect(seenOf(gone, 0.3)).rejects.toThrow(`lost the service at ${url}; the copy goes on there`);
    const revoked = streaming([state('1', 'copying')], new MirrorError('unauthenticated', 'Revoked.'));
    await expect(seenOf(revoked)).rejects.toThrow(/tells no more: Revoked; the copy goes on there/);
  });
});
