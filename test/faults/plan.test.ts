import { describe, expect, it } from 'vitest';
import { catalogue, titleOf } from './catalogue.ts';
import { describePlan, makePlan } from './plan.ts';

const can = () => true;
const plans = Array.from({ length: 300 }, (_, n) => makePlan(n + 1, { can }));

describe('a plan', () => {
  it('is the same for the same seed, and another for the next', () => {
    const text = (seed: number) => JSON.stringify(makePlan(seed, { can }));
    expect(text(17)).toBe(text(17));
    expect(text(17)).not.toBe(text(18));
    expect(describePlan(makePlan(17, { can }))[0]).toBe('seed 17');
  });

  it('takes no more tries than a mirror has, unless a fault stays', () => {
    for (const { faults, kills } of plans) {
      const cost = faults
        .filter(({ entry }) => !entry.lasting)
        .map(({ entry, rules }) => {
          const { cost: each = 1, tokens } = entry;
          return each * (each === 1 && !tokens ? Math.max(...rules.map(({ times }) => times)) : 1);
        });
      expect(cost.reduce((sum, one) => sum + one, 0) + kills.length).toBeLessThan(5);
    }
  });

  it('leaves no fault of the catalogue out of 300', () => {
    const seen = new Set(plans.flatMap(({ faults }) => faults.map(({ entry }) => entry)));
    expect(catalogue.filter((entry) => !seen.has(entry)).map(titleOf)).toEqual([]);
  });

  it('kills services and Skopeos at every moment', () => {
    const seen = new Set(plans.flatMap(({ kills }) => kills.map(({ what, moment }) => `${what} ${moment}`)));
    expect([...seen].sort()).toEqual([
      'service answered',
      'service arrival',
      'service middle',
      'skopeo answered',
      'skopeo arrival',
      'skopeo middle',
    ]);
  });
});
