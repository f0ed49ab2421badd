import { z } from 'zod';
import { isDigest } from '../core/digest.ts';
import { asMirrorError } from '../core/errors.ts';
import { mirrorStates, verifyLevels } from '../core/mirror.ts';
import { parsePrefix } from '../core/reference.ts';
import { parsePlatform } from '../core/selection.ts';

export const failure = z
  .object({
    code: z.string(),
    side: z.enum(['source', 'target']).optional(),
    message: z.string(),
    remedy: z.string(),
    retryable: z.boolean(),
  })
  .meta({ id: 'Failure' });
export type FailureView = z.infer<typeof failure>;

export const mirrorState = z.enum(mirrorStates);

export const phase = z.enum(['planning', 'copying', 'verifying', 'tagging']);

export const progress = z.object({
  layersDone: z.number(),
  layersTotal: z.number(),
  bytesDone: z.number().describe('Compressed bytes; never fewer than before'),
  bytesTotal: z.number().describe('0 until it is known what there is to copy'),
});

export const wait = z.object({
  until: z.iso.datetime(),
  host: z.string().optional().describe('Who asked for it; absent: our own pause before the next try'),
});
export type WaitView = z.infer<typeof wait>;

/** All, none, or these artifact types. */
export const mirrorReferrers = z.union([z.enum(['all', 'none']), z.array(z.string())]);

const arrival = z
  .object({
    manifests: z.number(),
    blobs: z.number(),
    bytes: z.number().describe('Compressed bytes of those blobs'),
    foreign: z.array(z.string()).describe('Layers that live elsewhere by design, and are not there'),
    referrers: z.array(
      z.object({
        digest: z.string(),
        subject: z.string().describe('The manifest that it refers to'),
        artifactType: z.string(),
        tag: z.string().optional().describe('Where it has no subject of its own: the tag that tells'),
      }),
    ),
    level: z.enum(verifyLevels).describe('How the target was looked at'),
    untagged: z
      .literal(true)
      .optional()
      .describe("The target's tag was left as it is: by then the source's pointed elsewhere"),
    moved: z
      .object({ blobs: z.number(), bytes: z.number(), referrers: z.number() })
      .describe('What of it the last try has moved; the rest was there'),
  })
  .meta({ id: 'Arrival' });

export type ArrivalView = z.infer<typeof arrival>;

/** A mirror, as the command line shows it. */
export const mirror = z
  .object({
    id: z.string(),
    source: z.string(),
    target: z.string(),
    digest: z.string(),
    platforms: z.array(z.string()).optional().describe('Those that are wanted; absent: every one'),
    referrers: mirrorReferrers.describe('What is wanted of what refers to it'),
    state: mirrorState,
    phase: phase.optional(),
    progress,
    wait: wait.optional().describe('While it is `queued`: when it is tried again'),
    attempts: z.number(),
    createdAt: z.string(),
    startedAt: z.string().optional(),
    finishedAt: z.string().optional(),
    failure: failure.optional(),
    arrival: arrival.optional().describe('What has come, or was found there, once it is done'),
    exitCode: z.number().optional(),
  })
  .meta({ id: 'Mirror' });
export type MirrorView = z.infer<typeof mirror>;

/** Images and targets of one batch, and what comes of them: each image for each target. */
const batchLimits = { images: 500, targets: 20, pairs: 1000 };

const platform = z.string().superRefine((text, context) => {
  explain(context, () => parsePlatform(text));
});
const artifactType = z.string().regex(/^[!-~]{1,200}$/, 'is no artifact type');
const referrers = z.union([z.enum(['all', 'none']), z.array(artifactType).min(1).max(50)]);

export const newMirrors = z
  .strictObject({
    images: z
      .array(z.string())
      .min(1)
      .max(batchLimits.images)
      .describe('Source images, as Docker writes them'),
    to: z
      .union([z.string(), z.array(z.string()).min(1).max(batchLimits.targets)])
      .describe('Targets: each a registry host, or host and path. Every image goes to each of them'),
    platforms: z
      .array(platform)
      .min(1)
      .max(50)
      .optional()
      .describe('Which platforms of an image, such as linux/arm64; absent: as the service is configured'),
    referrers: referrers
      .optional()
      .describe(
        'What comes along of what refers to an image: all, none, or these artifact types; absent: as the service is configured',
      ),
    dryRun: z.boolean().optional().describe('Look and answer, start nothing'),
  })
  .refine(({ images, to }) => images.length * (typeof to === 'string' ? 1 : to.length) <= batchLimits.pairs, {
    path: ['images'],
    message: `images times targets are more than ${batchLimits.pairs}; send them in several requests`,
  })
  .meta({
    id: 'NewMirrors',
    description: `At most ${batchLimits.pairs} images times targets`,
    example: { images: ['ubuntu:24.04', 'quay.io/biocontainers/bwa:0.7.17'], to: ['quay.io/acme'] },
  });

export type NewMirrors = z.infer<typeof newMirrors>;

export const mirrorAnswer = z
  .object({
    requestId: z.string(),
    target: z.string(),
    digest: z.string(),
    cached: z.boolean().describe('The target holds it already'),
    mirrorId: z.string().optional(),
  })
  .meta({ id: 'MirrorAnswer' });
export type MirrorAnswer = z.infer<typeof mirrorAnswer>;

/** A failure of something that was asked for, not of the request that asked. */
export const outcomeError = failure
  .extend({ retryAfter: z.number().optional().describe('Seconds after which to ask again') })
  .meta({ id: 'OutcomeError' });
export type OutcomeErrorView = z.infer<typeof outcomeError>;

export const outcome = z
  .object({
    image: z.string().describe('As it was asked for'),
    to: z.string(),
    ...mirrorAnswer.partial().shape,
    error: outcomeError.optional().describe('Why there is nothing else'),
  })
  .meta({ id: 'Outcome' });
export type OutcomeView = z.infer<typeof outcome>;

export const outcomes = z
  .object({
    outcomes: z.array(outcome).describe('In the order asked for: image by image, target by target'),
  })
  .meta({ id: 'Outcomes' });
export type Outcomes = z.infer<typeof outcomes>;

export const mirrorList = z
  .object({
    mirrors: z.array(mirror),
    next: z
      .string()
      .optional()
      .describe('Pass it as `cursor`, with the same filters, for the next page; absent: there is none'),
  })
  .meta({ id: 'MirrorList' });
export type MirrorList = z.infer<typeof mirrorList>;

const prefix = z.string().transform((text, context) => explain(context, () => parsePrefix(text)));
const moment = z
  .union(
    [z.iso.datetime({ offset: true }), z.iso.date()],
    'is no time such as 2026-11-30T14:05:00Z or 2026-11-30',
  )
  .transform((text) => new Date(text))
  // Others are written otherwise, or not at all, in a database.
  .refine((time) => time.getUTCFullYear() >= 1 && time.getUTCFullYear() <= 9999, 'is beyond all years');

export const listQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(500).default(50),
  cursor: z
    .string()
    .regex(/^[0-9a-z]{1,10}$/, 'give the `next` of an earlier answer')
    .optional()
    .describe('Go on where the page with this `next` has ended'),
  state: z
    .preprocess(
      (value) => (value === undefined || Array.isArray(value) ? value : [value]),
      z.array(mirrorState).optional(),
    )
    .describe('In one of these states: state=queued&state=copying'),
  source: prefix
    .optional()
    .describe('From there: a registry host, host and path with all that is under it, or host/path:tag'),
  target: prefix.optional().describe('To there: the same'),
  digest: z
    .string()
    .refine(isDigest, 'is no digest')
    .optional()
    .describe('What the source resolved to, such as sha256:…'),
  tenant: z
    .string()
    .regex(/^[!-~]{1,500}$/)
    .optional()
    .describe('What this tenant has asked for; for administrators'),
  since: moment.optional().describe('Asked for then or later; ISO 8601'),
  until: moment.optional().describe('Asked for before'),
});

/** Turns what a reader of text throws into the fault of a field. */
function explain<T>(context: z.RefinementCtx, read: () => T): T {
  try {
    return read();
  } catch (error) {
    context.addIssue({ code: 'custom', message: asMirrorError(error).message.replace(/\.$/, '') });
    return z.NEVER;
  }
}
