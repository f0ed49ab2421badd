import { readFileSync } from 'node:fs';

/** What the kernel has counted for a process: files, pipes and sockets together. */
export interface Moved {
  /** Bytes, and the calls that moved them. */
  read: number;
  reads: number;
  written: number;
  writes: number;
}

/** Nothing where there is no /proc, or the process has just ended. */
export function bytesMoved(pid: number): Moved | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/io`, 'utf8');
    const count = (name: string) => Number(new RegExp(`^${name}: ([0-9]+)$`, 'm').exec(text)?.[1]);
    const moved = {
      read: count('rchar'),
      reads: count('syscr'),
      written: count('wchar'),
      writes: count('syscw'),
    };
    return Object.values(moved).some(Number.isNaN) ? undefined : moved;
  } catch {
    return undefined;
  }
}

/**
 * Bytes of one call with which Go's scheduler wakes itself up: one through a pipe (Skopeo 1.9.3, three times a second
 * for its progress bars), eight through an eventfd since. They go on for ever in a copy that stands still.
 */
const wakeUp = 8;

/** Watches one copy for a standstill. */
export interface StallWatch {
  /** It has said something. */
  heard(): void;
  /** A blob has begun to move: from now on, silence alone says nothing. */
  began(): void;
  /** To be called every now and then, with what it has moved so far. @returns whether it has stood still for too long */
  stalled(moved: Moved | undefined): boolean;
}

/**
 * A copy that moves a few bytes now and then is slow, and goes on: only its time limit holds for it. Where nobody
 * counts bytes, it has to speak instead; but Skopeo says nothing while a blob moves, and that can take hours, so there
 * only a copy that has not come to its first blob is judged.
 * @param limit milliseconds
 */
export function createStallWatch(limit: number, now: () => number = () => performance.now()): StallWatch {
  let last = now();
  let before: Moved = { read: 0, reads: 0, written: 0, writes: 0 };
  let moving = false;
  return {
    heard: () => void (last = now()),
    began: () => void (moving = true),
    stalled(moved) {
      if (moved) {
        const read = moved.read - before.read > wakeUp * (moved.reads - before.reads);
        const written = moved.written - before.written > wakeUp * (moved.writes - before.writes);
        if (read || written) last = now();
        before = moved;
      }
      return (moved !== undefined || !moving) && now() - last >= limit;
    },
  };
}
