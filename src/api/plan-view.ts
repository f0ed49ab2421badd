import { formatReference } from '../core/reference.ts';
import type { Forecast } from '../mirror/forecast.ts';
import type { PlanView } from '../wire/plan.ts';

/** A forecast as the API and the command line tell it. */
export function toPlan({ plan, selection, rate, ...forecast }: Forecast): PlanView {
  const { platforms, referrers: wanted } = selection;
  const { present, manifests, blobs, bytes, foreign, referrers, rules } = forecast;
  const { remaining, limit, resumesAt } = rate.source ?? {};
  return {
    target: formatReference(plan.target),
    digest: plan.digest,
    wanted: {
      ...(platforms && { platforms: [...platforms] }),
      referrers: typeof wanted === 'string' ? wanted : [...wanted],
    },
    ...(plan.target.tag && {
      tag: { sets: plan.setsTag, ...(plan.setsTag && plan.held && { held: plan.held }) },
    }),
    ...{ present, manifests, blobs, bytes, foreign, referrers },
    rate: {
      reads: rate.reads,
      ...(remaining !== undefined && { remaining }),
      ...(limit !== undefined && { limit }),
      ...(resumesAt && { resumesAt: resumesAt.toISOString() }),
    },
    rules: rules.map(({ rule, passed, why, refusal }) => ({
      ...{ rule, passed, why },
      ...(refusal && { refusal: refusal.toFailure() }),
    })),
  };
}
