import type { Digest } from '../core/digest.ts';
import { noProgress, type Progress } from '../core/mirror.ts';
import type { LayerChange } from '../db/events.ts';
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
  /** Takes what became of layers since the last call; nothing before it is known which blobs are layers. */
  layers(): LayerChange[];
}

type BlobState = LayerChange['state'];

/**
 * Bytes are those of finished blobs, plus what the kernel has counted for the child beyond them, at most the
 * size of the blobs that are on their way: never backwards, never past the total. An executor that counts no bytes
 * has them move by whole blobs.
 * @param floor how far an earlier try was: what was told is not taken back.
 */
export function createTracker(floor: Progress = noProgress): Tracker {
  let tree: Tree | undefined;
  let sent = 0;
  let highest = floor.bytesDone;
  let finished = false;
  const blobs = new Map<Digest, BlobState>();
  let news: { digest: Digest; state: BlobState }[] = [];

  function note(digest: Digest, state: BlobState): void {
    blobs.set(digest, state);
    news.push({ digest, state });
  }

  function add(): Progress {
    if (!tree) return floor;
    const sizes = new Map([...tree.layers, ...tree.configs]);
    const bytesTotal = [...sizes.values()].reduce((sum, size) => sum + size, 0);
    const layersTotal = tree.layers.size;
    if (finished) return { layersDone: layersTotal, layersTotal, bytesDone: bytesTotal, bytesTotal };
    let [settled, moved, flying, layersDone] = [0, 0, 0, 0];
    for (const [digest, state] of blobs) {
      const size = sizes.get(digest) ?? 0;
      if (state === 'started') flying += size;
      else settled += size;
      if (state === 'done') moved += size;
      if (state !== 'started' && tree.layers.has(digest)) layersDone++;
    }
    highest = Math.max(highest, settled + Math.min(Math.max(sent - moved, 0), flying));
    return {
      layersDone: Math.min(Math.max(layersDone, floor.layersDone), layersTotal),
      layersTotal,
      bytesDone: Math.min(highest, bytesTotal),
      bytesTotal,
    };
  }

  return {
    expect(whole) {
      tree = whole;
    },
    see(event) {
      // A blob that several platforms share is reported again for each; it arrives once.
      if (event.type === 'blob') {
        const known = blobs.get(event.digest);
        if (known !== event.state && (known ?? 'started') === 'started') note(event.digest, event.state);
      }
      if (event.type === 'sent') sent = event.bytes;
    },
    finish() {
      finished = true;
      for (const digest of tree?.layers.keys() ?? []) {
        const known = blobs.get(digest);
        // Nobody told of its end; or of it at all, as where the target had everything.
        if ((known ?? 'started') === 'started') note(digest, known ? 'done' : 'skipped');
      }
    },
    progress: add,
    layers() {
      if (!tree) return [];
      const { layers } = tree;
      const taken = news;
      news = [];
      return taken.flatMap(({ digest, state }) => {
        const size = layers.get(digest);
        return size === undefined ? [] : [{ digest, size, state }];
      });
    },
  };
}
