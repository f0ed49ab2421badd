import { setTimeout as sleep } from 'node:timers/promises';
import { MirrorError } from '../core/errors.ts';
import { formatReference, formatRepository } from '../core/reference.ts';
import type { KeyedMutex } from '../lib/mutex.ts';
import { inParallel } from '../lib/parallel.ts';
import type { Manifest } from '../registry/registry.ts';
import type { Place } from './place.ts';
import { onSide } from './side.ts';

/** A tag that others may be adding to as well. */
export interface Change {
  tag: string;
  /** What it is to hold instead of what it holds; undefined: nothing has to be changed. */
  next(held: Manifest | undefined): Promise<Manifest | undefined>;
}

/**
 * Milliseconds after which a tag is read again, at least. Registries change a tag whatever it holds by then, so two writers
 * can lose what the other has added. A writer of ours never writes what rests on a reading older than half of this: whoever
 * reads again after all of it sees what such a writer has made of it.
 */
const settle = 600;
const rounds = 12;
const parallel = 4;

/**
 * Changes tags, reads them again, and changes them once more where another writer has taken a change back.
 * @param locks shared by all writers of this process.
 * @throws MirrorError `registry_unavailable` when that goes on and on.
 */
export async function changeTags(place: Place, changes: readonly Change[], locks: KeyedMutex): Promise<void> {
  const { registry, repository, access, side } = place;
  // Where answers take long, everybody's do: those who write there wait longer too.
  let pause = settle;

  /** @returns whether something had to be changed. */
  async function change({ tag, next }: Change): Promise<boolean> {
    for (;;) {
      const readAt = performance.now();
      const held = await onSide(side, () => registry.manifest({ ...repository, tag }, access));
      const wanted = await next(held);
      if (!wanted) return false;
      if (performance.now() - readAt > pause / 2) {
        pause *= 2;
        continue;
      }
      await onSide(side, () => registry.putManifest(repository, tag, wanted, access));
      pause = Math.max(pause, 2 * (performance.now() - readAt));
      return true;
    }
  }

  let left = changes;
  for (let round = 0; left.length > 0; round++) {
    if (round === rounds)
      throw new MirrorError(
        'registry_unavailable',
        `Others change tags of ${formatRepository(repository)} again and again: ${left.map(({ tag }) => tag).join(', ')}.`,
        { side },
      );
    // Two writers who are in step would go on for ever.
    // Whoever stops it is told by the next call.
    if (round > 0)
      await sleep(pause * (1 + Math.random() / 2), undefined, { signal: access.signal }).catch(
        () => undefined,
      );
    const again: Change[] = [];
    await inParallel(left, parallel, (each) =>
      locks.run(formatReference({ ...repository, tag: each.tag }), async () => {
        if (await change(each)) again.push(each);
      }),
    );
    left = again;
  }
}
