import type { Claim, MirrorStore } from '../db/mirrors.ts';
import { createTracker } from './tracker.ts';
import type { Listener } from './worker.ts';

/** Milliseconds between two writes of a running copy's progress and log. */
const writeEvery = 400;

/** Characters of log that one mirror may keep; a copy that says more is in a loop. */
const logLimit = 1_000_000;

/** A listener that keeps progress and log on record while the copy runs. */
export interface Report extends Listener {
  exitCode: number | undefined;
  /** Writes what is left; `complete` says that everything arrived. */
  close(complete: boolean): Promise<void>;
}

export function createReport(claim: Claim, store: MirrorStore, onError: (error: unknown) => void): Report {
  const tracker = createTracker();
  const { mirror } = claim;
  let phase = mirror.phase ?? 'planning';
  let lines: string[] = [];
  let logged = 0;
  let changed = false;
  let writing: Promise<void> = Promise.resolve();
  let timer: NodeJS.Timeout | undefined;

  async function write(): Promise<void> {
    timer = undefined;
    const text = lines.join('');
    lines = [];
    if (changed) await store.progress(claim, phase, tracker.progress());
    changed = false;
    if (text) await store.appendLog(mirror.id, text);
  }

  function soon(): void {
    timer ??= setTimeout(() => {
      // A lost line of progress is no reason to stop a copy.
      writing = writing.then(write).catch(onError);
    }, writeEvery);
  }

  const report: Report = {
    exitCode: undefined,
    phase(next) {
      phase = next;
      changed = true;
      soon();
    },
    tree(tree) {
      tracker.expect(tree);
      changed = true;
      soon();
    },
    event(event) {
      if (event.type === 'exit') report.exitCode = event.code;
      else if (event.type === 'log') report.note(event.line);
      else {
        tracker.see(event);
        changed = true;
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
      clearTimeout(timer);
      if (complete) tracker.finish();
      changed = true;
      await writing;
      await write();
    },
  };
  return report;
}
