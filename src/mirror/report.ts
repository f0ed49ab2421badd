import type { LayerChange } from '../db/events.ts';
import type { Claim, MirrorStore } from '../db/mirrors.ts';
import { createTracker } from './tracker.ts';
import type { Listener } from './copier.ts';

/** Milliseconds between two writes of a running copy's progress and log. */
const writeEvery = 400;
/** Milliseconds between two looks whether the claim still stands. */
const pulseEvery = 1000;

/** Characters of log that one mirror may keep; a copy that says more is in a loop. */
const logLimit = 1_000_000;

/** A listener that keeps progress and log on record while the copy runs. */
export interface Report extends Listener {
  exitCode: number | undefined;
  /** Whether more layers are at the target than when this claim began. */
  gotFurther(): boolean;
  /** Writes what is left; `complete` says that everything arrived. */
  close(complete: boolean): Promise<void>;
}

export interface ReportOptions {
  /** The claim is another's by now, or the mirror has ended. */
  onLost: () => void;
  onError: (error: unknown) => void;
}

export function createReport(claim: Claim, store: MirrorStore, { onLost, onError }: ReportOptions): Report {
  const { mirror } = claim;
  const tracker = createTracker(mirror.progress);
  let phase = mirror.phase ?? 'planning';
  let lines: string[] = [];
  /** Those that are not on record yet. */
  let layers: LayerChange[] = [];
  let logged = 0;
  let writing: Promise<void> = Promise.resolve();
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  async function write(): Promise<void> {
    timer = undefined;
    const text = lines.join('');
    lines = [];
    layers.push(...tracker.layers());
    if (!(await store.progress(claim, phase, tracker.progress(), layers))) onLost();
    layers = [];
    if (text) await store.appendLog(claim, text);
  }

  function soon(): void {
    // Reading the source's manifests may outlive its copy.
    if (closed) return;
    timer ??= setTimeout(() => {
      // A lost line of progress is no reason to stop a copy.
      writing = writing.then(write).catch(onError);
    }, writeEvery);
  }
  // Also when nothing happens: a copy that was cancelled in another process is noticed by its lost claim.
  const pulse = setInterval(soon, pulseEvery);

  const report: Report = {
    exitCode: undefined,
    gotFurther: () => tracker.progress().layersDone > mirror.progress.layersDone,
    phase(next) {
      phase = next;
      soon();
    },
    tree(tree) {
      tracker.expect(tree);
      soon();
    },
    event(event) {
      if (event.type === 'exit') report.exitCode = event.code;
      else if (event.type === 'log') report.note(event.line);
      else {
        tracker.see(event);
        soon();
      }
    },
    note(line) {
      if (logged > logLimit) return;
      const text = `${new Date().toISOString()} ${line}\n`;
      logged += text.length;
      lines.push(logged > logLimit ? 'The log is cut here.\n' : text);
      soon();
    },
    async close(complete) {
      closed = true;
      clearInterval(pulse);
      clearTimeout(timer);
      if (complete) tracker.finish();
      await writing;
      await write();
    },
  };
  return report;
}
