import type { Progress } from '../core/mirror.ts';
import type { ArrivalView, FailureView, WaitView } from '../wire/mirror.ts';
import type { Plan } from './client.ts';
import type { Context } from './context.ts';
import {
  formatDone,
  formatDuration,
  formatFailure,
  formatPlan,
  formatProgress,
  formatWait,
  indent,
  paint,
  shorten,
} from './format.ts';
import type { Seen } from './watch.ts';

/** How far one image of a batch is. */
export interface Row {
  /** What it is called: the image, and where it goes when there are several targets. */
  name: string;
  image: string;
  /** The target as it was asked for. */
  to?: string;
  target?: string;
  /** `waiting`: not asked for yet. `present`: it was there already. `missing`: a dry run found it missing. */
  state: 'waiting' | 'present' | 'missing' | 'queued' | 'copying' | 'done' | 'failed' | 'cancelled';
  phase?: string;
  id?: string;
  progress?: Progress;
  /** Of a dry run. */
  plan?: Plan;
  /** Once it is done. */
  arrival?: ArrivalView;
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
/** What some states are called. */
export const words: Partial<Record<Row['state'], string>> = {
  present: 'there already',
  missing: 'would be copied',
};

/** What is drawn first where not everything fits. */
const order: Row['state'][] = ['copying', 'queued', 'waiting'];

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
  const running = new Set<Row>();
  const left = new Set<Row>();
  const redraw = () => {
    const rows = [...running].sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state));
    // What does not fit would scroll away and could not be drawn over.
    const room = Math.max(1, stdout.rows - 2);
    const lines = rows.slice(0, room).map((row) => describe(row, stdout));
    const more = rows.length > room ? [`  and ${rows.length - room} more`] : [];
    draw([...lines, ...more].join('\n'));
  };
  const timer = setInterval(redraw, drawEvery);
  return {
    show(row) {
      if (row.endedAt === undefined) return void running.add(row);
      running.delete(row);
      if (row.failure || row.note) left.add(row);
      draw.persist(describe(row, stdout));
      redraw();
    },
    end() {
      clearInterval(timer);
      draw.clear();
      draw.done();
      for (const row of left) stderr.write(explain(row, stderr));
    },
  };
}

function createPlainView({ stdout, stderr }: Context): View {
  const last = new Map<Row, string>();
  return {
    show(row) {
      if (row.note && row.endedAt !== undefined) stderr.write(explain(row, stderr));
      const shown = wordOf(row);
      if (row.state === 'waiting' || last.get(row) === shown) return;
      last.set(row, shown);
      stdout.write(`${describe(row, stdout)}\n`);
      if (row.state === 'failed') stderr.write(explain(row, stderr));
    },
    end: () => undefined,
  };
}

/** `✓ ubuntu → quay.io/library/ubuntu:latest  done  6/6 layers, 28.1 MB  3.2 s`, as wide as the terminal. */
function describe(row: Row, stream: NodeJS.WriteStream): string {
  const { name, image, target, state, phase, progress, plan, arrival, startedAt, endedAt } = row;
  const word = state === 'copying' ? (phase ?? state) : wordOf(row);
  const took = formatDuration((endedAt ?? performance.now()) - startedAt);
  const moved = progress && (arrival ? formatDone(arrival, progress) : formatProgress(progress));
  const amount = plan ? (state === 'failed' ? '' : formatPlan(plan)) : (moved ?? '');
  const rest = [word, amount, state === 'waiting' ? '' : took];
  const facts = rest.filter((part) => part !== '').join('  ');
  const route = target === undefined ? name : `${image} → ${target}`;
  const width = stream.isTTY ? stream.columns - facts.length - 5 : Infinity;
  return `${paint(stream, colours[state], marks[state])} ${shorten(route, width)}  ${paint(stream, colours[state], facts)}`;
}

function wordOf({ state, wait, plan }: Row): string {
  if (plan && state === 'failed') return 'would be refused';
  return state === 'queued' && wait ? formatWait(wait) : (words[state] ?? state);
}

function explain({ name, failure, note }: Row, stream: NodeJS.WriteStream): string {
  if (note) return `${paint(stream, 'yellow', '!')} ${name}\n${indent(note)}\n`;
  return failure ? `${paint(stream, 'red', '✗')} ${name}\n${indent(formatFailure(failure))}\n` : '';
}

/** What a mirror changes in its row. */
export function changeOf({
  target,
  state,
  phase,
  progress,
  failure,
  wait,
  arrival,
}: Seen & { target?: string; arrival?: ArrivalView }): Partial<Row> {
  return {
    ...(target !== undefined && { target }),
    state,
    progress,
    wait,
    ...(phase && { phase }),
    ...(arrival && { arrival }),
    ...(failure && state !== 'done' && { failure }),
  };
}
