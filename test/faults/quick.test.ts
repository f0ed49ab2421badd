import { afterAll, beforeAll, expect, it } from 'vitest';
import { describePlan, makePlan } from './plan.ts';
import { runPlan } from './run.ts';
import { createFaultWorld, type FaultWorld } from './world.ts';

// A slice of `npm run test:faults`: seeds that have the main kinds of faults, and both kinds of kills, between them.

let world: FaultWorld;
beforeAll(async () => {
  world = await createFaultWorld();
});
afterAll(() => world.stop());

const seeds = [3, 4, 12, 17, 19, 20, 23, 30, 31, 36, 37];

it.each(seeds)('what must hold after a run holds: seed %i', async (seed) => {
  const plan = makePlan(seed, { can: () => false, quick: true });
  const { complaints, trace } = await runPlan(world, plan);
  const story = [...describePlan(plan), ...trace, ...world.output().split('\n').slice(-40)].join('\n');
  expect(complaints, story).toEqual([]);
});
