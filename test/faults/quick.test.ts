import { afterAll, beforeAll, expect, it } from 'vitest';
import { describePlan, makePlan } from './plan.ts';
import { runPlan } from './run.ts';
import { createFaultWorld, type FaultWorld, hasSetting } from './world.ts';

// A slice of `npm run test:faults`: seeds that have the main kinds of faults, and both kinds of kills, between them.

let world: FaultWorld;
beforeAll(async () => {
  world = await createFaultWorld();
});
afterAll(() => world.stop());

const seeds = [21, 23, 25, 26, 28, 135, 176, 181, 218, 222, 225, 287, 299, 369];

it.each(seeds)('what must hold after a run holds: seed %i', async (seed) => {
  const plan = makePlan(seed, { can: (setting) => hasSetting('skopeo', setting), quick: true });
  const { complaints, trace } = await runPlan(world, plan);
  const story = [...describePlan(plan), ...trace, ...world.output().split('\n').slice(-40)].join('\n');
  expect(complaints, story).toEqual([]);
});
