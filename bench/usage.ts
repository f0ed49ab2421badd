import { readFileSync, writeFileSync } from 'node:fs';

/** Bytes of memory that a process has, and the most that it had. */
export interface Memory {
  resident: number;
  peak: number;
}

/** What the kernel says of a process; undefined when it has ended. */
export function readMemory(pid: number): Memory | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/status`, 'utf8');
    const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1]) * 1024;
    const [resident, peak] = [field('VmRSS'), field('VmHWM')];
    return Number.isNaN(peak) ? undefined : { resident, peak };
  } catch {
    return undefined;
  }
}

/** Kernel ticks a second in /proc (USER_HZ, fixed for user space). */
const ticks = 100;

/** Milliseconds of processor time that a process has taken so far (proc(5): utime and stime, 14 and 15). */
export function readCpuTime(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The second field is the command in brackets and may hold spaces.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / ticks;
}

/** Makes the peak begin anew at what the process has now (proc(5), clear_refs). */
export function resetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

/** Milliseconds between two looks: a process ends at most this long after its last one. */
const lookEvery = 10;

/**
 * Watches a process and all that it starts until `stop`, which returns the sum of their peaks in bytes: at least
 * as much as they ever had together.
 */
export function watchTree(pid: number): { stop(): number } {
  const peaks = new Map<number, number>();
  const look = (id: number): void => {
    const memory = readMemory(id);
    if (memory) peaks.set(id, memory.peak);
    for (const child of childrenOf(id)) look(child);
  };
  const timer = setInterval(() => look(pid), lookEvery);
  look(pid);
  return {
    stop() {
      clearInterval(timer);
      return [...peaks.values()].reduce((sum, peak) => sum + peak, 0);
    },
  };
}

function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}
