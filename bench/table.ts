/** One line of the result. What has no baseline or target leaves those out. */
export interface Row {
  what: string;
  dray: string;
  baseline?: string;
  /** Dray against the baseline: a ratio or a difference, as the target wants it. */
  ratio?: string;
  target?: string;
  met?: boolean;
}

/** A markdown table whose columns line up in a terminal too. */
export function formatTable(rows: readonly Row[]): string {
  const cells = [
    ['what', 'Dray', 'baseline', 'ratio', 'target', 'met?'],
    ...rows.map(({ what, dray, baseline = '', ratio = '', target = '', met }) => [
      what,
      dray,
      baseline,
      ratio,
      target,
      met === undefined ? '' : met ? 'yes' : 'missed',
    ]),
  ];
  const widths = cells.reduce<number[]>(
    (widest, line) => line.map((cell, n) => Math.max(widest[n] ?? 0, cell.length)),
    [],
  );
  const print = (line: readonly string[]) =>
    `| ${line.map((cell, n) => cell.padEnd(widths[n] ?? 0)).join(' | ')} |`;
  const [head = [], ...body] = cells.map(print);
  return [head, print(widths.map((width) => '-'.repeat(width))), ...body].join('\n');
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low = NaN, high = low] = sorted.slice(Math.ceil(middle) - 1, Math.floor(middle) + 1);
  return (low + high) / 2;
}

export const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(2)} s`;
export const milliseconds = (value: number): string => `${value.toFixed(value < 100 ? 1 : 0)} ms`;
export const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;
export const rate = (value: number): string => `${Math.round(value).toLocaleString('en')}/s`;
export const times = (value: number): string => `${value.toFixed(2)} ×`;
