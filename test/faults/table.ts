import { catalogue, titleOf } from './catalogue.ts';
import type { RunResult } from './run.ts';

interface Row {
  title: string;
  side: string;
  planned: number;
  /** Runs in which the fault has met a call. */
  met: number;
  calls: number;
  /** Requests for an image that the fault was about, in those runs. */
  done: number;
  failed: Map<string, number>;
  kills: number;
}

/** Fault × side: how many runs had it, and what became of the requests that it was about. */
export function faultTable(results: readonly RunResult[]): string {
  const rows = new Map<string, Row>();
  for (const entry of catalogue) {
    const title = titleOf(entry);
    const empty = { planned: 0, met: 0, calls: 0, done: 0, failed: new Map<string, number>(), kills: 0 };
    rows.set(`${title} ${entry.side}`, { title, side: entry.side, ...empty });
  }
  for (const { plan, met, outcomes, kills } of results)
    for (const [n, { entry, images }] of plan.faults.entries()) {
      const row = rows.get(`${titleOf(entry)} ${entry.side}`);
      if (!row) continue;
      row.planned++;
      const calls = met[n] ?? 0;
      if (calls === 0) continue;
      row.met++;
      row.calls += calls;
      row.kills += kills.service + kills.skopeo;
      for (const { image, outcome } of outcomes) {
        if (!images.includes(image)) continue;
        if (outcome.end === 'done') row.done++;
        else {
          const code = 'failure' in outcome ? (outcome.failure?.code ?? 'no code') : 'unheard';
          row.failed.set(code, (row.failed.get(code) ?? 0) + 1);
        }
      }
    }
  const lines = [...rows.values()].map(({ title, side, planned, met, calls, done, failed, kills }) => [
    title,
    side,
    `${met} of ${planned}`,
    String(calls),
    String(done),
    [...failed].map(([code, count]) => `${count} ${code}`).join(', '),
    String(kills),
  ]);
  return align([['fault', 'side', 'runs that met it', 'calls', 'done', 'failed', 'kills'], ...lines]);
}

/** What all runs come to, in one line. */
export function summary(results: readonly RunResult[]): string {
  const ends = { done: 0, failed: 0, refused: 0, unheard: 0 };
  let [service, skopeo, waited] = [0, 0, 0];
  for (const { outcomes, kills, waits } of results) {
    for (const { outcome } of outcomes) ends[outcome.end]++;
    service += kills.service;
    skopeo += kills.skopeo;
    if (waits.some(({ host }) => host !== undefined)) waited++;
  }
  const bad = results.filter(({ complaints }) => complaints.length > 0).length;
  return `${results.length} runs, ${bad} with complaints: ${ends.done} requests done, ${ends.failed} failed, ${ends.refused} not accepted, ${ends.unheard} unheard of; kill -9 of the service ${service} times, of Skopeo ${skopeo} times; ${waited} runs waited for a rate limit.`;
}

function align(rows: string[][]): string {
  const widths = (rows[0] ?? []).map((_, n) => Math.max(...rows.map((row) => row[n]?.length ?? 0)));
  const line = (row: string[]) => `| ${row.map((cell, n) => cell.padEnd(widths[n] ?? 0)).join(' | ')} |`;
  const [head = [], ...body] = rows;
  return [line(head), `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...body.map(line)].join(
    '\n',
  );
}
