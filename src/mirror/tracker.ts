import type { Digest } from '../core/digest.ts';
import type { Progress } from '../core/mirror.ts';
import type { CopyEvent } from '../executor/executor.ts';
import type { Tree } from './tree.ts';

/** Adds up what a running copy tells. */
export interface Tracker {
  /** What there is to copy, as soon as it is known. */
  expect(tree: Tree): void;
  see(event: CopyEvent): void;
  /** Everything is there. */
  finish(): void;
  progress(): Progress;
}

/**
 * Bytes are those of finished blobs, plus what the kernel has counted for the child beyond them, at most the
 * size of the blobs that are on their way: never backwards, never past the total.
 */
export function createTracker(): Tracker {
  let tree: Tree | undefined;
  let sent = 0;
  let highest = 0;
  let finished = false;
  const blobs = new Map<Digest, 'started' | 'done' | 'skipped' | 'mounted'>();

  function add(): Progress {
    const sizes = new Map([...(tree?.layers ?? []), ...(tree?.configs ?? [])]);
    const bytesTotal = [...sizes.values()].reduce((sum, size) => sum + size, 0);
    const layersTotal = tree?.layers.size ?? 0;
    if (finished) return { layersDone: layersTotal, layersTotal, bytesDone: bytesTotal, bytesTotal };
    let [settled, moved, flying, layersDone] = [0, 0, 0, 0];
    for (const [digest, state] of blobs) {
      const size = sizes.get(digest) ?? 0;
      if (state === 'started') flying += size;
      else settled += size;
      if (state === 'done') moved += size;
      if (state !== 'started' && tree?.layers.has(digest)) layersDone++;
    }
    highest = Math.max(highest, settled + Math.min(Math.max(sent - moved, 0), flying));
    return { layersDone, layersTotal, bytesDone: Math.min(highest, bytesTotal), bytesTotal };
  }

  return {
    expect(whole) {
      tree = whole;
    },
    see(event) {
      // A blob that several platforms share is reported again for each; it arrives once.
      if (event.type === 'blob' && (blobs.get(event.digest) ?? 'started') === 'started')
        blobs.set(event.digest, event.state);
      if (event.type === 'sent') sent = event.bytes;
    },
    finish() {
      finished = true;
    },
    progress: add,
  };
}
