import { parseArgs } from 'node:util';
import { describePlan, makePlan } from './plan.ts';
import { type RunResult, runPlan } from './run.ts';
import { faultTable, summary } from './table.ts';
import { createFaultWorld, type FaultWorld, hasSetting } from './world.ts';

// npm run test:faults                     300 runs, seeds 1 to 300
// npm run test:faults -- --seed 17        one run, with all that happened in it
// npm run test:faults -- --from 301 --runs 100
// npm run test:faults -- --quick --seed 3 a run of quick.test.ts

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    from: { type: 'string', default: '1' },
    runs: { type: 'string', default: '300' },
    worlds: { type: 'string', default: '2' },
    quick: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
  },
});
const seed = values.seed ?? process.env['SEED'];
const one = seed !== undefined;
const from = Number(seed ?? values.from);
const runs = one ? 1 : Number(values.runs);
if (!Number.isSafeInteger(from) || !Number.isSafeInteger(runs) || runs < 1)
  throw new Error('Seeds and runs are whole numbers.');

/** Runs after which a world is replaced: what it has stored grows, and it is good to begin anew. */
const lifetime = 25;
/** Milliseconds that one run may take; a run that is still at it has found something. */
const patience = 240_000;

const can = (setting: 'stallLimit') => hasSetting('skopeo', setting);
const say = (text: string) => void process.stdout.write(`${text}\n`);
const results: RunResult[] = [];
const broken: number[] = [];
let next = from;
const stopping = new AbortController();
process.once('SIGINT', () => stopping.abort());
process.once('SIGTERM', () => stopping.abort());

async function work(): Promise<void> {
  let world: FaultWorld | undefined;
  let used = 0;
  try {
    while (!stopping.signal.aborted && next < from + runs) {
      const plan = makePlan(next++, { can, quick: values.quick });
      if (used++ % lifetime === 0) {
        await world?.stop();
        world = await createFaultWorld();
      }
      if (!world) return;
      const late = AbortSignal.timeout(patience);
      try {
        const result = await Promise.race([
          runPlan(world, plan),
          new Promise<never>((_, reject) => {
            late.addEventListener('abort', () => reject(new Error('The run did not end.')), { once: true });
          }),
        ]);
        results.push(result);
        report(result, world);
      } catch (error) {
        broken.push(plan.seed);
        say(
          [...describePlan(plan), `  ! the run broke: ${(error as Error).stack ?? String(error)}`].join('\n'),
        );
        say(world.output().split('\n').slice(-40).join('\n'));
        // Nobody knows what state it is in.
        used = 0;
      }
    }
  } finally {
    await world?.stop();
  }
}

function report(result: RunResult, world: FaultWorld): void {
  const { plan, complaints, outcomes, met, kills, ms } = result;
  const done = outcomes.filter(({ outcome }) => outcome.end === 'done').length;
  say(
    `${complaints.length === 0 ? 'ok' : 'NOT OK'} seed ${plan.seed}: ${done} of ${outcomes.length} done, faults met ${met.join('+') || 0}, killed ${kills.service} services and ${kills.skopeo} Skopeos, ${(ms / 1000).toFixed(1)} s`,
  );
  if (complaints.length === 0 && !one && !values.verbose) return;
  say(describePlan(plan).join('\n'));
  if (complaints.length > 0 || one) {
    say(result.trace.map((line) => `    ${line}`).join('\n'));
    say(world.output().split('\n').slice(-60).join('\n'));
  }
  for (const complaint of complaints) say(`  ! ${complaint}`);
  if (complaints.length > 0)
    say(`  Again: npm run test:faults -- ${values.quick ? '--quick ' : ''}--seed ${plan.seed}`);
}

await Promise.all(Array.from({ length: Math.min(runs, Number(values.worlds)) }, work));
if (!one) say(`\n${faultTable(results)}\n`);
say(summary(results));
const failed = [
  ...results.filter(({ complaints }) => complaints.length > 0).map(({ plan }) => plan.seed),
  ...broken,
];
if (failed.length > 0) say(`Seeds that failed: ${failed.sort((a, b) => a - b).join(' ')}`);
process.exitCode = failed.length > 0 || stopping.signal.aborted ? 1 : 0;
