import type { Digest } from '../core/digest.ts';
import type { Selection } from '../core/selection.ts';
import type { Keychain } from '../keychain/keychain.ts';
import { inParallel } from '../lib/parallel.ts';
import type { Registry } from '../registry/registry.ts';
import type { Looks } from './look.ts';
import type { Known, Pacer } from './pacing.ts';
import { enter } from './place.ts';
import { type Plan, planRoute } from './plan.ts';
import type { Verdict } from './policy.ts';
import { listReferrers, missingReferrers } from './referrers.ts';
import { signalUntil, untilDeadline } from './retry.ts';
import { onSide } from './side.ts';
import type { Route } from './target.ts';
import { gone, readTree } from './tree.ts';
import { blobsOf } from './verify.ts';

/** Of so many, so many are not at the target. */
export interface Share {
  total: number;
  missing: number;
}

/** What a mirror would do, in numbers. */
export interface Measured {
  plan: Plan;
  selection: Selection;
  /** Everything wanted is there, and nothing would be done. */
  present: boolean;
  manifests: Share;
  blobs: Share;
  /** Compressed bytes of those blobs. */
  bytes: Share;
  /** Layers that live elsewhere by design and are not moved. */
  foreign: Digest[];
  referrers: Share;
  rate: {
    /** How many manifests the copy would read of the source: what a quota of pulls counts. */
    reads: number;
    /** What the source has told of its quota so far. */
    source?: Known;
  };
}

export interface ForecasterOptions {
  registry: Registry;
  pacer: Pacer;
}

/** What a mirror would do, and what the rules of dray.yaml say of it. */
export interface Forecast extends Measured {
  /** One for each rule in scope; one that has not passed is what a request would be refused with. */
  rules: Verdict[];
}

/** Measures what a mirror would do, and does nothing. Reads the source's manifests, which its quota counts. @throws MirrorError. */
export type Forecaster = (
  route: Route,
  selection: Selection,
  means: { looks: Looks; keychain: Keychain },
  deadline: number,
) => Promise<Measured>;

/** Submit budgets that a forecast may take: it asks for every blob. */
export const forecastBudgets = 3;

const parallel = 8;

export function createForecaster(options: ForecasterOptions): Forecaster {
  const { registry, pacer } = options;
  return async (route, selection, { looks, keychain }, deadline) => {
    const plan = await planRoute(route, looks, deadline);
    const signal = signalUntil(deadline);
    return untilDeadline(deadline, async () => {
      const from = await enter(options, keychain, plan.source, 'source', signal);
      const to = await enter(options, keychain, plan.target, 'target', signal);
      const { digest } = plan;
      const tree = await onSide('source', () =>
        readTree(registry, from.repository, digest, from.access, selection.platforms),
      );
      // It was there a moment ago.
      if (!tree) throw gone(plan.source, digest);
      const blobs = blobsOf(tree);
      const missing = { manifests: 0, blobs: 0, bytes: 0 };
      await onSide('target', async () => {
        await inParallel([...tree.manifests.keys()], parallel, async (each) => {
          if (!(await registry.resolve({ ...to.repository, digest: each }, to.access))) missing.manifests++;
        });
        await inParallel([...blobs], parallel, async ([blob, size]) => {
          if ((await registry.lookForBlob(to.repository, { digest: blob, size }, to.access)) === 'there')
            return;
          missing.blobs++;
          missing.bytes += size;
        });
      });
      const found = await listReferrers(from, tree.manifests.keys(), selection.referrers);
      const left = await missingReferrers(from, to, found, 'blobs');
      const known = pacer.known(plan.source.registry, from.access.credential);
      const whole = missing.manifests === 0 && missing.blobs === 0;
      return {
        ...{ plan, selection },
        present: plan.present && whole && left.length === 0,
        manifests: { total: tree.manifests.size, missing: missing.manifests },
        blobs: { total: blobs.size, missing: missing.blobs },
        bytes: { total: [...blobs.values()].reduce((sum, size) => sum + size, 0), missing: missing.bytes },
        foreign: tree.foreign,
        referrers: { total: found.length, missing: left.length },
        rate: {
          // Skopeo reads each manifest, and we do, to know how much there is.
          reads: (whole ? 0 : 2 * tree.manifests.size) + left.length,
          ...(known && { source: known }),
        },
      };
    });
  };
}
