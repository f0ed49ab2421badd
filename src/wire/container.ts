import { z } from 'zod';

const anything = z.unknown().optional();
const text = z.string().nullish();

/** `POST /v1alpha2/container` as Wave clients send it; what is not listed is ignored. */
export const containerRequest = z
  .object({
    mirror: z.boolean().nullish().describe('`true` asks for mirroring; nothing else is served'),
    containerImage: text.describe('The source image'),
    buildRepository: text.describe('The target: a registry host, or host and path'),
    towerAccessToken: text.describe('An access token of Seqera Platform, or a key of this service'),
    towerRefreshToken: text,
    towerEndpoint: text.describe('Seqera Platform; absent: the first that is configured'),
    towerWorkspaceId: z.int().nonnegative().nullish().describe('Absent: the personal workspace'),
    workflowId: text,
    dryRun: z.boolean().nullish().describe('Validate and answer, start nothing'),
    containerPlatform: text.describe('Ignored: every platform is copied'),
    timestamp: text,
    fingerprint: text,
    freeze: z.boolean().nullish().describe('Excludes `mirror` when true'),
    scanMode: text.describe('`required` is refused: no scanner is configured'),
    containerFile: anything.describe('Excludes `mirror`, as do the five that follow'),
    containerConfig: anything,
    containerIncludes: anything,
    packages: anything,
    condaFile: anything,
    buildContext: anything,
  })
  .meta({
    id: 'ContainerRequest',
    example: {
      mirror: true,
      containerImage: 'ubuntu:24.04',
      buildRepository: 'quay.io/acme',
      towerAccessToken: 'dray_…',
    },
  });
export type ContainerRequest = z.infer<typeof containerRequest>;

export const containerAnswer = z
  .object({
    requestId: z.string().describe('Unguessable; the secret of the status call'),
    targetImage: z.string().describe('What to pull'),
    containerImage: z.string().describe('The same'),
    buildId: z
      .string()
      .optional()
      .describe("The mirror's id; absent when nothing was copied and nothing is on record"),
    cached: z.boolean().describe('The target already holds the source’s digest'),
    freeze: z.literal(false),
    mirror: z.literal(true),
    succeeded: z.literal(true).optional().describe('The image is there; absent while it is on its way'),
  })
  .meta({ id: 'ContainerAnswer' });
export type ContainerAnswer = z.infer<typeof containerAnswer>;

export const containerStatus = z
  .object({
    id: z.string(),
    status: z.enum(['PENDING', 'BUILDING', 'SCANNING', 'DONE']).describe('BUILDING: queued or copying'),
    mirrorId: z.string().nullable(),
    buildId: z.null(),
    scanId: z.null(),
    vulnerabilities: z.null(),
    succeeded: z.boolean().optional().describe('Present when DONE'),
    reason: z.string().optional().describe('Why it failed'),
    detailsUri: z.string().optional().describe('A page with more'),
    creationTime: z.string().describe('ISO 8601, UTC'),
    duration: z.string().optional().describe('Seconds, with a decimal point'),
  })
  .meta({ id: 'ContainerStatus' });
export type ContainerStatus = z.infer<typeof containerStatus>;

export const containerRecord = z
  .object({
    requestId: z.string(),
    containerImage: z.string(),
    targetImage: z.string(),
    creationTime: z.string(),
    mirrorId: z.string().nullable(),
    digest: z.string(),
  })
  .meta({ id: 'ContainerRecord' });
export type ContainerRecord = z.infer<typeof containerRecord>;

export const mirrorRecord = z
  .object({
    mirrorId: z.string(),
    digest: z.string(),
    sourceImage: z.string(),
    targetImage: z.string(),
    platform: z.null().describe('Every platform'),
    creationTime: z.string(),
    status: z.enum(['PENDING', 'COMPLETED']),
    duration: z.string().optional(),
    exitCode: z.number().nullable(),
    logs: z.string().optional().describe('For callers who may read them'),
  })
  .meta({ id: 'MirrorRecord' });
export type MirrorRecord = z.infer<typeof mirrorRecord>;
