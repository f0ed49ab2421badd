import { readMemory, type Memory } from './usage.ts';
import type { Stage } from './stage.ts';
import { median, megabytes, type Row, seconds } from './table.ts';

const rounds = 3;
/** Milliseconds from spawn to the first good answer of /health. */
const targets = { new: 5000, old: 2000 };

/** How long the service takes to start, on a data folder that is new and on the same one again. */
export async function measureStart(stage: Stage, say: (text: string) => void): Promise<Row[]> {
  const took: Record<keyof typeof targets, number[]> = { new: [], old: [] };
  const memory: Record<keyof typeof targets, Memory[]> = { new: [], old: [] };
  for (let round = 1; round <= rounds; round++) {
    const folder = await stage.folder();
    for (const age of ['new', 'old'] as const) {
      const started = performance.now();
      // It says itself when it serves: nothing has to ask again and again.
      const service = await stage.service({ folder });
      const health = await fetch(`${service.url}/health`);
      if (health.status !== 200) throw new Error(`/health answered ${health.status}`);
      took[age].push(performance.now() - started);
      const now = readMemory(service.pid);
      if (now) memory[age].push(now);
      say(
        `round ${round}, ${age} folder: ${seconds(took[age].at(-1) ?? NaN)}, ${megabytes(now?.resident ?? NaN)}`,
      );
      await service.stop();
    }
  }
  return (['new', 'old'] as const).flatMap((age): Row[] => {
    const time = median(took[age]);
    const middle = (key: keyof Memory) => megabytes(median(memory[age].map((each) => each[key])));
    return [
      {
        what: `start: ${age} data folder, until /health answers`,
        dray: seconds(time),
        target: `≤ ${seconds(targets[age])}`,
        met: time <= targets[age],
      },
      {
        what: `start: ${age} data folder, memory then, peak`,
        dray: `${middle('resident')}, ${middle('peak')}`,
      },
    ];
  });
}
