import { setTimeout as sleep } from 'node:timers/promises';
import { asMirrorError } from '../core/errors.ts';
import { inParallel } from '../lib/parallel.ts';
import type { createSlots } from '../lib/slots.ts';
import type { MirrorEventView } from '../wire/event.ts';
import type { MirrorAnswer } from '../wire/mirror.ts';
import type { Client, Plan } from './client.ts';
import { type Context, exitStatus, type ExitStatus, printJson } from './context.ts';
import { formatCost, formatLayer } from './format.ts';
import { changeOf, createView, type Row, words } from './live.ts';
import type { ArrivalView } from '../wire/mirror.ts';
import { LostSight, type Seen, watch } from './watch.ts';

type Report = (change: Partial<Row>) => void;

/** What a row is to bring. */
export type Item = Pick<Row, 'name' | 'image' | 'to'>;

/** Takes one image to its target; reports each change. Settles when there is nothing more to see. */
export type Run = (item: Item, report: Report) => Promise<void>;

/** What a batch is done with. */
export interface Runs {
  run: Run;
  /** How many at once. */
  parallel: number;
  /** What is said when the user has stopped it. */
  stopped: string;
  close(): Promise<void>;
}

export interface BatchOptions {
  json?: true;
  /** Waits for registries that name a time to come back, instead of calling that a failure. */
  patient: boolean;
}

/** Rows whose ends nobody counts by eye. */
const screenful = 10;

/** How many mirrors are watched at once: a service gives 100 streams to a caller. The others wait for their turn. */
export const watches = 64;

/** Runs a batch and shows it. */
export async function runBatch(
  context: Context,
  items: readonly Item[],
  { run, parallel, stopped, close }: Runs,
  { json, patient }: BatchOptions,
): Promise<ExitStatus> {
  const { signal, stderr } = context;
  const view = json ? undefined : await createView(context);
  const rows = items.map((item): Row => ({ ...item, state: 'waiting', startedAt: performance.now() }));
  try {
    await inParallel(rows, parallel, async (row) => {
      const change = (values: Partial<Row>) => {
        Object.assign(row, values);
        view?.show(row);
      };
      change({ startedAt: performance.now() });
      try {
        await (patient ? whenLetIn(() => run(row, change), change, signal) : run(row, change));
      } catch (error) {
        if (signal.aborted) return;
        change({ state: 'failed', failure: asMirrorError(error).toFailure() });
      }
      change({ endedAt: performance.now() });
      if (json) printJson(context, toJson(row));
    });
  } finally {
    view?.end(rows);
    await close();
  }
  if (signal.aborted) {
    stderr.write(`${stopped}\n`);
    return exitStatus.interrupted;
  }
  if (view && rows.length > screenful) context.stdout.write(`${sumOf(rows)}\n`);
  return statusOf(rows);
}

/** Nothing has been accepted yet where a registry says at once when to come back. */
async function whenLetIn(work: () => Promise<void>, report: Report, signal: AbortSignal): Promise<void> {
  for (;;) {
    try {
      return await work();
    } catch (caught) {
      const { code, retryAfter } = asMirrorError(caught);
      if (code !== 'rate_limited' || retryAfter === undefined) throw caught;
      const pause = Math.max(1, retryAfter) * 1000;
      report({ state: 'queued', wait: { until: new Date(Date.now() + pause).toISOString() } });
      await sleep(pause, undefined, { signal });
      report({ state: 'waiting', wait: undefined });
    }
  }
}

/** Reports what a dry run has found out. */
export function reportPlan(
  { stderr }: Context,
  name: string,
  plan: Plan,
  report: Report,
  verbose?: true,
): void {
  const failure = plan.rules.find(({ refusal }) => refusal)?.refusal;
  const state = failure ? 'failed' : plan.present ? 'present' : 'missing';
  report({ target: plan.target, plan, state, ...(failure && { failure }) });
  if (verbose) stderr.write(formatCost(plan).replace(/^/gm, `${name}: `) + '\n');
}

export interface FollowOptions {
  /** What the mirror is called in the log. */
  name: string;
  wait: boolean;
  verbose?: true;
  /** Bounds how many are watched. */
  inSlot: ReturnType<typeof createSlots>;
}

/** Reports what the service has answered, and what becomes of it until it has ended. */
export async function followAnswer(
  service: Client,
  { signal, stderr }: Context,
  { name, wait, verbose, inSlot }: FollowOptions,
  { target, cached, mirrorId: id }: Partial<MirrorAnswer>,
  report: Report,
): Promise<void> {
  report({ ...(target !== undefined && { target }), ...(id !== undefined && { id }) });
  if (cached) return report({ state: 'present' });
  if (id === undefined) return report({ state: 'missing' });
  report({ state: 'queued' });
  if (!wait) return;
  try {
    const onEvent = (event: MirrorEventView) =>
      event.type === 'layer' && stderr.write(`${name}: ${formatLayer(event)}\n`);
    let end: Seen | undefined;
    const onChange = (seen: Seen) => (seen.state === 'done' ? (end = seen) : report(changeOf(seen)));
    await inSlot(() => watch(service, id, onChange, { signal, ...(verbose && { onEvent }) }));
    if (end) {
      // What of it had to be moved; the end itself is known without.
      const { arrival } = await service.mirror(id).catch((): { arrival?: ArrivalView } => ({}));
      report(changeOf({ ...end, ...(arrival && { arrival }) }));
    }
  } catch (error) {
    if (!(error instanceof LostSight)) throw error;
    return report({ note: error.message });
  }
  if (verbose)
    stderr.write(
      await service.log(id).catch((error: unknown) => `${name}: no log: ${asMirrorError(error).message}\n`),
    );
}

/** `60 done, 2 failed`. */
function sumOf(rows: readonly Row[]): string {
  const sums = new Map<string, number>();
  for (const { state } of rows) sums.set(state, (sums.get(state) ?? 0) + 1);
  return [...sums].map(([state, sum]) => `${sum} ${words[state as Row['state']] ?? state}`).join(', ');
}

function statusOf(rows: readonly Row[]): ExitStatus {
  if (rows.some(({ state }) => state === 'failed' || state === 'cancelled')) return exitStatus.failed;
  return rows.every(({ state }) => state === 'done' || state === 'present')
    ? exitStatus.ok
    : exitStatus.pending;
}

function toJson({ startedAt, endedAt = startedAt, ...row }: Row): object {
  const { image, to, target, state, id, progress, plan, arrival, failure, note } = row;
  const milliseconds = Math.round(endedAt - startedAt);
  return { image, to, target, state, id, progress, plan, arrival, failure, note, milliseconds };
}
