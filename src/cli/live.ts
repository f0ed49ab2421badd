import type { Progress } from '../core/mirror.ts';
import type { FailureView, WaitView } from '../wire/mirror.ts';
import type { Context } from './context.ts';
import {
  formatDuration,
  formatFailure,
  formatProgress,
  formatWait,
  indent,
  paint,
  shorten,
} from './format.ts';
import type { Seen } from './watch.ts';

/** How far one image of a batch is. */
export interface Row {
  image: string;
  target?: string;
  /** `waiting`: not asked for yet. `present`: it was there already. `missing`: a dry run found it missing. */
  state: 'waiting' | 'present' | 'missing' | 'queued' | 'copying' | 'done' | 'failed' | 'cancelled';
  phase?: string;
  id?: string;
  progress?: Progress;
  failure?: FailureView;
  /** While it is `queued`: when it is tried again. */
  wait?: WaitView | undefined;
  /** Why nobody watches it any more, though it goes on. */
  note?: string;
  /** performance.now() when it was asked for, and when it ended. */
  startedAt: number;
  endedAt?: number;
}

/** Shows a batch while it goes on. */
export interface View {
  show(row: Row): void;
  /** Prints what is left to say. */
  end(rows: readonly Row[]): void;
}

const marks = {
  waiting: '·',
  present: '✓',
  missing: '○',
  queued: '◌',
  copying: '●',
  done: '✓',
  failed: '✗',
  cancelled: '✗',
} as const;
const colours = {
  waiting: 'dim',
  present: 'green',
  missing: 'yellow',
  queued: 'yellow',
  copying: 'blue',
  done: 'green',
  failed: 'red',
  cancelled: 'red',
} as const;
const words: Partial<Record<Row['state'], string>> = { present: 'there already', missing: 'would be copied' };

/** Milliseconds between two drawings: time goes on also when nothing else does. */
const drawEvery = 100;

/** A live line for each image on a terminal, a line for each change of state elsewhere. */
export async function createView(context: Context): Promise<View> {
  return context.stdout.isTTY ? createLiveView(context) : createPlainView(context);
}

async function createLiveView({ stdout, stderr }: Context): Promise<View> {
  // Only here: it costs 25 ms.
  const { createLogUpdate } = await import('log-update');
  const draw = createLogUpdate(stdout);
  const running = new Map<string, Row>();
  const left = new Map<string, Row>();
  const redraw = () => {
    const lines = [...running.values()].map((row) => describe(row, stdout));
    // What does not fit would scroll away and could not be drawn over.
    const room = Math.max(1, stdout.rows - 2);
    const more = lines.length > room ? [`  and ${lines.length - room} more`] : [];
    draw([...lines.slice(0, room), ...more].join('\n'));
  };
  const timer = setInterval(redraw, drawEvery);
  return {
    show(row) {
      if (row.endedAt === undefined) return void running.set(row.image, row);
      running.delete(row.image);
      if (row.failure || row.note) left.set(row.image, row);
      draw.persist(describe(row, stdout));
      redraw();
    },
    end() {
      clearInterval(timer);
      draw.clear();
      draw.done();
      for (const row of left.values()) stderr.write(explain(row, stderr));
    },
  };
}

function createPlainView({ stdout, stderr }: Context): View {
  const last = new Map<string, string>();
  return {
    show(row) {
      if (row.note && row.endedAt !== undefined) stderr.write(explain(row, stderr));
      const shown = wordOf(row);
      if (row.state === 'waiting' || last.get(row.image) === shown) return;
      last.set(row.image, shown);
      stdout.write(`${describe(row, stdout)}\n`);
      if (row.state === 'failed') stderr.write(explain(row, stderr));
    },
    end: () => undefined,
  };
}

/** `✓ ubuntu → quay.io/library/ubuntu:latest  done  6/6 layers, 28.1 MB  3.2 s`, as wide as the terminal. */
function describe(row: Row, stream: NodeJS.WriteStream): string {
  const { image, target, state, phase, progress, startedAt, endedAt } = row;
  const word = state === 'copying' ? (phase ?? state) : wordOf(row);
  const took = formatDuration((endedAt ?? performance.now()) - startedAt);
  const rest = [word, progress ? formatProgress(progress) : '', state === 'waiting' ? '' : took];
  const facts = rest.filter((part) => part !== '').join('  ');
  const name = target === undefined ? image : `${image} → ${target}`;
  const width = stream.isTTY ? stream.columns - facts.length - 5 : Infinity;
  return `${paint(stream, colours[state], marks[state])} ${shorten(name, width)}  ${paint(stream, colours[state], facts)}`;
}

function wordOf({ state, wait }: Row): string {
  return state === 'queued' && wait ? formatWait(wait) : (words[state] ?? state);
}

function explain({ image, failure, note }: Row, stream: NodeJS.WriteStream): string {
  if (note) return `${paint(stream, 'yellow', '!')} ${image}\n${indent(note)}\n`;
  return failure ? `${paint(stream, 'red', '✗')} ${image}\n${indent(formatFailure(failure))}\n` : '';
}

/** What a mirror changes in its row. */
export function changeOf({
  target,
  state,
  phase,
  progress,
  failure,
  wait,
}: Seen & { target?: string }): Partial<Row> {
  return {
    ...(target !== undefined && { target }),
    state,
    progress,
    wait,
    ...(phase && { phase }),
    ...(failure && state !== 'done' && { failure }),
  };
}
