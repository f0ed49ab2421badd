import { z } from 'zod';
import { type Failure, MirrorError } from '../../core/errors.ts';
import { isFinal, type Mirror } from '../../core/mirror.ts';
import { formatReference } from '../../core/reference.ts';
import type { Answer, RequestRecord } from '../../mirror/service.ts';
import {
  type ContainerAnswer,
  containerAnswer,
  type ContainerRecord,
  containerRecord,
  containerRequest,
  type ContainerRequest,
  type ContainerStatus,
  containerStatus,
  type MirrorRecord,
  mirrorRecord,
} from '../../wire/container.ts';
import { errorAnswer } from '../../wire/error.ts';
import { idParams } from '../../wire/id.ts';
import type { App, Dependencies } from '../app.ts';
import { bearerOf } from '../auth.ts';

/** Fields of Wave's other modes; none goes together with `mirror`. */
const otherModes = [
  'containerFile',
  'containerConfig',
  'containerIncludes',
  'packages',
  'condaFile',
  'buildContext',
] as const;

const errors = { '4xx': errorAnswer, '5xx': errorAnswer };
const tags = ['Wave'];

/** What unmodified Wave clients call (shared contract: Wave's v1alpha2 API in mirror mode). */
export function registerWave(app: App, { service, auth, url }: Dependencies): void {
  app.post(
    '/v1alpha2/container',
    {
      config: { limit: 'submit-by-body' },
      schema: {
        tags,
        summary: 'Mirror an image',
        body: containerRequest,
        response: { 200: containerAnswer, ...errors },
      },
    },
    async (request) => {
      const { body } = request;
      const { image, repository } = mirrorRequestOf(body);
      const caller = await auth.byClaims(request, {
        token: body.towerAccessToken || bearerOf(request),
        refreshToken: body.towerRefreshToken,
        endpoint: body.towerEndpoint,
        workspaceId: body.towerWorkspaceId,
        workflowId: body.workflowId,
      });
      return toContainerAnswer(
        await service.submit({ image, repository, dryRun: body.dryRun === true }, caller),
      );
    },
  );

  // Old clients, and new ones in other modes, come here; there is no mirroring in that API.
  app.post(
    '/container-token',
    {
      config: { limit: 'submit-by-body' },
      schema: { tags, summary: 'Refused: the old API can not mirror', response: errors },
    },
    () => {
      throw new MirrorError(
        'not_a_mirror_request',
        'Mirroring needs the v2 API, and this service does nothing else.',
        {
          remedy:
            'Send the request to POST /v1alpha2/container, with "mirror": true (Nextflow: wave.mirror = true).',
        },
      );
    },
  );

  app.get(
    '/v1alpha2/container/:id/status',
    {
      schema: {
        tags,
        summary: 'How far a request is',
        description: 'Needs no login: the request id is the secret.',
        params: idParams,
        response: { 200: containerStatus, ...errors },
      },
    },
    async ({ params: { id } }) => toStatus(id, await requestOf(id), url()),
  );

  app.get(
    '/v1alpha2/container/:id',
    {
      schema: {
        tags,
        summary: 'A request on record',
        params: idParams,
        response: { 200: containerRecord, ...errors },
      },
    },
    async ({ params }): Promise<ContainerRecord> => {
      const { image, target, digest, createdAt, mirror } = await requestOf(params.id);
      return {
        requestId: params.id,
        containerImage: image,
        targetImage: target,
        creationTime: createdAt.toISOString(),
        mirrorId: mirror?.id ?? null,
        digest,
      };
    },
  );

  app.get(
    '/v1alpha1/mirrors/:id',
    {
      schema: {
        tags,
        summary: 'A mirror on record',
        params: idParams,
        response: { 200: mirrorRecord, ...errors },
      },
    },
    async (request) => {
      const mirror = await mirrorOf(request.params.id);
      // Whoever holds the id may see the mirror; whether the log comes along depends on who asks.
      const caller = await auth.ofVisitor(request);
      const logs =
        caller && (await service.mayReadLog(mirror.id, caller)) ? await service.log(mirror.id) : undefined;
      return toMirrorRecord(mirror, logs);
    },
  );

  app.get(
    '/v1alpha1/mirrors/:id/logs',
    {
      schema: {
        tags,
        summary: "A mirror's log",
        params: idParams,
        security: [{ key: [] }],
        response: {
          200: {
            description: 'What was done, and what Skopeo said',
            content: { 'text/plain': { schema: z.string() } },
          },
          ...errors,
        },
      },
    },
    async (request, reply) => {
      const caller = await auth.byHeader(request);
      const mirror = await mirrorOf(request.params.id);
      if (!(await service.mayReadLog(mirror.id, caller)))
        throw new MirrorError(
          'forbidden',
          'Only who asked for this mirror, in the same workspace, or an administrator may read its log.',
        );
      void reply.header('content-disposition', `attachment; filename=${mirror.id}.log`);
      void reply.type('text/plain; charset=utf-8');
      return service.log(mirror.id);
    },
  );

  async function requestOf(id: string): Promise<RequestRecord> {
    const record = await service.request(id);
    if (!record) throw new MirrorError('unknown_id', 'There is no request with this id.');
    return record;
  }

  async function mirrorOf(id: string): Promise<Mirror> {
    const mirror = await service.mirror(id);
    if (!mirror) throw new MirrorError('unknown_id', 'There is no mirror with this id.');
    return mirror;
  }
}

/** @throws MirrorError that says what is missing or what excludes what. */
function mirrorRequestOf(body: ContainerRequest): { image: string; repository: string } {
  if (body.mirror !== true)
    throw new MirrorError('not_a_mirror_request', 'This service mirrors images and does nothing else.');
  const conflict =
    otherModes.find((field) => !isAbsent(body[field], 8)) ?? (body.freeze ? 'freeze' : undefined);
  if (conflict)
    throw new MirrorError('invalid_request', `"mirror" and "${conflict}" exclude each other.`, {
      remedy: 'Leave one of them out.',
    });
  if (body.scanMode === 'required')
    throw new MirrorError('invalid_request', '"scanMode" is "required", but no scanner is configured.', {
      remedy: 'Leave scanMode out.',
    });
  const { containerImage: image, buildRepository: repository } = body;
  if (!image) throw missing('containerImage', 'the source image');
  if (!repository) throw missing('buildRepository', 'the target registry');
  return { image, repository };
}

function missing(field: string, meaning: string): MirrorError {
  return new MirrorError('invalid_request', `"${field}" is missing: ${meaning}.`, {
    remedy: `Set "${field}".`,
  });
}

/** Clients send nulls and hulls for what they don't mean; deeper than `depth` nobody builds a hull. */
function isAbsent(value: unknown, depth: number): boolean {
  if (value === null || value === undefined || value === '') return true;
  if (typeof value !== 'object' || depth === 0) return false;
  if (Array.isArray(value)) return value.length === 0;
  return Object.values(value).every((member) => isAbsent(member, depth - 1));
}

function toContainerAnswer({ requestId, target, mirrorId, cached, succeeded }: Answer): ContainerAnswer {
  return {
    requestId,
    targetImage: target,
    containerImage: target,
    ...(mirrorId && { buildId: mirrorId }),
    cached,
    freeze: false,
    mirror: true,
    ...(succeeded && { succeeded: true }),
  };
}

function toStatus(
  id: string,
  { createdAt, mirror, dryRun, cached }: RequestRecord,
  url: string,
): ContainerStatus {
  const atOnce = dryRun || cached || !mirror;
  const done = atOnce || isFinal(mirror.state);
  const succeeded = atOnce || mirror.state === 'done';
  const failure = succeeded ? undefined : mirror.failure;
  return {
    id,
    status: done ? 'DONE' : 'BUILDING',
    mirrorId: mirror?.id ?? null,
    buildId: null,
    scanId: null,
    vulnerabilities: null,
    ...(done && { succeeded }),
    ...(done &&
      !succeeded && {
        reason: failure ? reasonOf(failure) : `The mirror was ${mirror.state}.`,
        detailsUri: `${url}/view/mirrors/${mirror.id}`,
      }),
    creationTime: createdAt.toISOString(),
    ...(done && { duration: durationOf(atOnce ? undefined : mirror) }),
  };
}

/** All that Nextflow shows its user. */
function reasonOf({ message, side, remedy }: Failure): string {
  return `${message} ${side ? `At fault: the ${side} registry. ` : ''}${remedy}`;
}

function toMirrorRecord(mirror: Mirror, logs: string | undefined): MirrorRecord {
  const final = isFinal(mirror.state);
  return {
    mirrorId: mirror.id,
    digest: mirror.digest,
    sourceImage: formatReference(mirror.source),
    targetImage: formatReference(mirror.target),
    platform: null,
    creationTime: mirror.createdAt.toISOString(),
    status: final ? 'COMPLETED' : 'PENDING',
    ...(final && { duration: durationOf(mirror) }),
    // A copy can fail after Skopeo has ended well: at reading back, or at the tag.
    exitCode: !final ? null : mirror.state === 'done' ? 0 : mirror.exitCode || 1,
    ...(logs !== undefined && { logs }),
  };
}

/** Seconds with a decimal point: the Wave CLI reads a number without one as nanoseconds. */
function durationOf(mirror: Mirror | undefined): string {
  const milliseconds = mirror?.finishedAt ? mirror.finishedAt.getTime() - mirror.createdAt.getTime() : 0;
  return (Math.max(0, milliseconds) / 1000).toFixed(9);
}
