import { z } from 'zod';
import { failure, mirrorReferrers, outcomeError } from './mirror.ts';

const share = z
  .object({ total: z.number(), missing: z.number().describe('Of these, not at the target') })
  .meta({ id: 'Share' });

export const plan = z
  .object({
    target: z.string(),
    digest: z.string(),
    wanted: z
      .object({
        platforms: z.array(z.string()).optional().describe('Absent: every one'),
        referrers: mirrorReferrers,
      })
      .describe('What of the image'),
    tag: z
      .object({
        sets: z.boolean().describe('It would be set, or moved'),
        held: z.string().optional().describe('The digest that it points to at the target now'),
      })
      .optional()
      .describe('The tag at the target; absent: none is asked for'),
    present: z.boolean().describe('All that is wanted is there: nothing would be done'),
    manifests: share,
    blobs: share,
    bytes: share.describe('Compressed bytes of those blobs'),
    foreign: z.array(z.string()).describe('Layers that live elsewhere by design, and are not moved'),
    referrers: share.describe('Signatures, attestations …'),
    rate: z
      .object({
        reads: z
          .number()
          .describe('Manifests that would be read of the source: what a quota of pulls counts'),
        remaining: z
          .number()
          .optional()
          .describe('What the source has told of its quota: what is left of it'),
        limit: z.number().optional(),
        resumesAt: z.iso.datetime().optional().describe('Before that, the source lets nobody in'),
      })
      .describe('What it would cost of the quota of the source'),
    rules: z
      .array(
        z.object({
          rule: z.string().describe('Its name in dray.yaml'),
          passed: z.boolean(),
          why: z.string(),
          refusal: failure.optional().describe('What mirroring it would be refused with'),
        }),
      )
      .describe('Each rule in whose scope it is'),
  })
  .meta({ id: 'Plan' });
export type PlanView = z.infer<typeof plan>;

export const plans = z
  .object({
    plans: z
      .array(
        z
          .object({
            image: z.string().describe('As it was asked for'),
            to: z.string(),
            plan: plan.optional(),
            error: outcomeError.optional().describe('What mirroring it would be refused for'),
          })
          .meta({ id: 'PlanOutcome' }),
      )
      .describe('In the order asked for: image by image, target by target'),
  })
  .meta({ id: 'Plans' });
export type Plans = z.infer<typeof plans>;
