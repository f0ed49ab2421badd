import { describe, expect, it } from 'vitest';
import { type ErrorCode, MirrorError } from '../core/errors.ts';
import type { MirrorView } from '../wire/mirror.ts';
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
  return { url, mirror };
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
