import { styleText } from 'node:util';
import { formatBytes } from '../core/bytes.ts';
import type { LayerEventView } from '../wire/event.ts';
import type { ArrivalView, FailureView, MirrorView, WaitView } from '../wire/mirror.ts';
import type { Plan } from './client.ts';

type Colour = 'red' | 'green' | 'yellow' | 'blue' | 'dim' | 'bold';

/** Colours text where the stream is a terminal that shows colours; Node heeds NO_COLOR and TERM for us. */
export function paint(stream: NodeJS.WriteStream, colour: Colour, text: string): string {
  return styleText(colour, text, { stream });
}

/** `0.3 s`, `59.9 s`, `3:07`, `1:00:05`. */
export function formatDuration(milliseconds: number): string {
  const tenths = Math.round(milliseconds / 100) / 10;
  if (tenths < 60) return `${tenths.toFixed(1)} s`;
  const seconds = Math.floor(milliseconds / 1000);
  const two = (value: number) => String(value).padStart(2, '0');
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

type Shown = Pick<FailureView, 'message' | 'remedy' | 'code'> & { side?: FailureView['side'] | undefined };

/** The failure, the side at fault and the remedy, a line each. */
export function formatFailure({ message, side, remedy, code }: Shown): string {
  const at =
    code === 'policy_denied'
      ? `a rule about the ${side ?? 'image'}`
      : side
        ? `at the ${side} registry`
        : 'in the request or in Dray';
  return [`failure: ${message}`, `side:    ${at} (${code})`, `remedy:  ${remedy}`].join('\n');
}

/** Indents every line by two blanks. */
export function indent(text: string): string {
  return text.replace(/^/gm, '  ');
}

/** Rows with aligned columns; the last one is not padded. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)));
  return rows
    .map((row) =>
      row.map((cell, n) => (n === row.length - 1 ? cell : cell.padEnd(widths[n] ?? 0))).join('  '),
    )
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}

/** Cuts out the middle, so that the beginning and the tag or digest's end stay readable. */
export function shorten(text: string, width: number): string {
  if (text.length <= width) return text;
  if (width < 5) return text.slice(0, Math.max(0, width));
  const head = Math.ceil((width - 1) / 2);
  return `${text.slice(0, head)}…${text.slice(text.length - (width - 1 - head))}`;
}

/** `12 s`, `5 min`, `3 h`, `9 d`: the largest unit that is not 0. */
export function formatAge(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

type Measures = Pick<MirrorView, 'progress'>['progress'];

/** `3/4 layers, 12.3/28.1 MB`; nothing before the totals are known. */
export function formatProgress({ layersDone, layersTotal, bytesDone, bytesTotal }: Measures): string {
  if (bytesTotal === 0) return '';
  const done = bytesDone === bytesTotal ? '' : `${formatBytes(bytesDone)} of `;
  return `${layersDone}/${layersTotal} layers, ${done}${formatBytes(bytesTotal)}`;
}

/** `12.3 MB of 28.1 MB, 3 of 4 blobs, 2 of 2 referrers`: what of it would be moved; nothing where there is none. */
export function formatPlan({ present, bytes, blobs, referrers, tag }: Plan): string {
  if (present) return '';
  const of = ({ missing, total }: { missing: number; total: number }, what: string) =>
    `${missing} of ${total} ${what}`;
  return [
    `${formatBytes(bytes.missing)} of ${formatBytes(bytes.total)}`,
    of(blobs, 'blobs'),
    ...(referrers.total > 0 ? [of(referrers, 'referrers')] : []),
    ...(tag?.sets && tag.held ? [`moves the tag from ${tag.held.slice(0, 19)}`] : []),
  ].join(', ');
}

/** What else a dry run tells, a fact a line. */
export function formatCost({ digest, manifests, foreign, rate, rules }: Plan): string {
  const { reads, remaining, limit, resumesAt } = rate;
  const known =
    remaining === undefined ? '' : `; ${remaining}${limit === undefined ? '' : ` of ${limit}`} left there`;
  return [
    `digest ${digest}, ${manifests.missing} of ${manifests.total} manifests`,
    `reads ${reads} manifests of the source${known}`,
    ...(resumesAt === undefined ? [] : [`the source lets nobody in before ${resumesAt}`]),
    ...foreign.map((layer) => `${layer} has URLs of its own and is not moved`),
    ...rules.map(({ rule, passed, why }) => `rule ${rule}: ${passed ? 'passed' : 'refused'}, ${why}`),
  ].join('\n');
}

/** `docker.io until 14:05`, or without a host `14:05:03`: in local time, with the day where it is another one. */
function formatUntil({ until, host }: WaitView): string {
  const end = new Date(until);
  const two = (value: number) => String(value).padStart(2, '0');
  const date = `${end.getFullYear()}-${two(end.getMonth() + 1)}-${two(end.getDate())} `;
  const time = `${two(end.getHours())}:${two(end.getMinutes())}`;
  const day = end.toDateString() === new Date().toDateString() ? '' : date;
  return host === undefined
    ? `${day}${time}:${two(end.getSeconds())}`
    : `${host.replace(/^https?:\/\//, '')} until ${day}${time}`;
}

/** `waiting for docker.io until 14:05`, `next try at 14:05:03`. */
export function formatWait(wait: WaitView): string {
  return `${wait.host === undefined ? 'next try at' : 'waiting for'} ${formatUntil(wait)}`;
}

/** `layer sha256:0123456789ab done, 28.1 MB`. */
export function formatLayer({
  digest,
  state,
  size,
}: Pick<LayerEventView, 'digest' | 'state' | 'size'>): string {
  return `layer ${digest.slice(0, 19)} ${state}, ${formatBytes(size)}`;
}

/** What of it had to be moved, where that was not all: `copied 1.2 MB of 28.1 MB, 1 of 3 referrers`. */
export function formatDone({ bytes, moved, referrers }: ArrivalView, progress: Measures): string {
  const all = moved.bytes === bytes && moved.referrers === referrers.length;
  const { length } = referrers;
  const amount = all
    ? formatProgress(progress)
    : `copied ${formatBytes(moved.bytes)} of ${formatBytes(bytes)}`;
  const parts = all ? [count(length, 'referrer')] : [`${moved.referrers} of ${count(length, 'referrer')}`];
  return [amount, ...(length > 0 ? parts : [])].join(', ');
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}

/** What a target holds, and how it was looked at. */
function formatArrival({ manifests, blobs, bytes, referrers, level }: ArrivalView): string {
  return `${manifests} manifests, ${blobs} blobs, ${formatBytes(bytes)}, ${referrers.length} referrers (seen: ${level})`;
}

const colours: Partial<Record<string, Colour>> = { done: 'green', failed: 'red', cancelled: 'red' };

const waits = (wait: WaitView) => `${wait.host === undefined ? 'until' : 'for'} ${formatUntil(wait)}`;

/** One mirror in full, a fact a line. */
export function formatMirror(mirror: MirrorView, stream: NodeJS.WriteStream): string {
  const { state, phase, failure, wait, platforms, referrers, arrival, createdAt, finishedAt } = mirror;
  const shown = paint(stream, colours[state] ?? 'blue', phase && state === 'copying' ? phase : state);
  const took = (finishedAt ? Date.parse(finishedAt) : Date.now()) - Date.parse(createdAt);
  const facts = [
    ['state', shown],
    ...(wait && state === 'queued' ? [['waits', waits(wait)]] : []),
    ['source', mirror.source],
    ['target', mirror.target],
    ['digest', mirror.digest],
    ...(platforms ? [['only', platforms.join(', ')]] : []),
    ...(referrers === 'all' ? [] : [['with', `referrers: ${[referrers].flat().join(', ')}`]]),
    [
      'copied',
      arrival ? formatDone(arrival, mirror.progress) : formatProgress(mirror.progress) || 'not counted',
    ],
    ...(arrival ? [['there', formatArrival(arrival)]] : []),
    ['asked', `${createdAt} (${finishedAt ? 'took' : 'for'} ${formatDuration(took)})`],
    ['tries', String(mirror.attempts)],
    ['id', mirror.id],
  ];
  const lines = facts.map(([name = '', value = '']) => `${`${name}:`.padEnd(9)}${value}`);
  return `${[...lines, ...(failure && state !== 'done' ? [formatFailure(failure)] : [])].join('\n')}\n`;
}
