import { z } from 'zod';
import { mirrorStates } from '../core/mirror.ts';

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

/** A mirror, as the command line shows it. */
export const mirror = z
  .object({
    id: z.string(),
    source: z.string(),
    target: z.string(),
    digest: z.string(),
    state: mirrorState,
    phase: phase.optional(),
    progress,
    wait: wait.optional().describe('While it is `queued`: when it is tried again'),
    attempts: z.number(),
    createdAt: z.string(),
    startedAt: z.string().optional(),
    finishedAt: z.string().optional(),
    failure: failure.optional(),
    exitCode: z.number().optional(),
  })
  .meta({ id: 'Mirror' });
export type MirrorView = z.infer<typeof mirror>;

export const newMirror = z
  .object({
    image: z.string().min(1).describe('The source image'),
    to: z.string().min(1).describe('The target: a registry host, or host and path'),
    dryRun: z.boolean().optional().describe('Validate and answer, start nothing'),
  })
  .meta({ id: 'NewMirror', example: { image: 'ubuntu:24.04', to: 'quay.io/acme' } });

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

export const mirrorList = z.object({
  mirrors: z.array(mirror),
  next: z.string().optional().describe('Pass it as `before` for the next page'),
});
export type MirrorList = z.infer<typeof mirrorList>;

export const listQuery = z.object({
  limit: z.coerce.number().int().min(1).max(500).default(50),
  before: z
    .string()
    .regex(/^mr-[0-9a-f]+$/, 'give the id of a mirror')
    .optional()
    .describe('Continue after this mirror id'),
  state: mirrorState.optional(),
});
