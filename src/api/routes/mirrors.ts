import { MirrorError } from '../../core/errors.ts';
import type { Mirror, Wait } from '../../core/mirror.ts';
import { formatReference } from '../../core/reference.ts';
import type { Answer, MirrorService } from '../../mirror/service.ts';
import { errorAnswer } from '../../wire/error.ts';
import { idParams } from '../../wire/id.ts';
import {
  listQuery,
  mirror as mirrorSchema,
  type MirrorAnswer,
  mirrorAnswer,
  type MirrorList,
  mirrorList,
  type MirrorView,
  newMirror,
  type WaitView,
} from '../../wire/mirror.ts';
import type { App, Dependencies } from '../app.ts';

const errors = { '4xx': errorAnswer, '5xx': errorAnswer };
const security = [{ key: [] }];
const tags = ['Mirrors'];

/** Our own API: what the command line uses. Always with a key. */
export function registerMirrors(app: App, { service, auth }: Dependencies): void {
  app.post(
    '/v1/mirrors',
    {
      config: { limit: 'submit' },
      schema: {
        tags,
        security,
        summary: 'Mirror an image',
        body: newMirror,
        response: { 200: mirrorAnswer, ...errors },
      },
    },
    async (request): Promise<MirrorAnswer> => {
      const caller = await auth.byHeader(request);
      const { image, to, dryRun = false } = request.body;
      return toMirrorAnswer(await service.submit({ image, repository: to, dryRun }, caller));
    },
  );

  app.get(
    '/v1/mirrors',
    {
      schema: {
        tags,
        security,
        summary: 'Mirrors, newest first',
        querystring: listQuery,
        response: { 200: mirrorList, ...errors },
      },
    },
    async (request): Promise<MirrorList> => {
      const caller = await auth.byHeader(request);
      const { limit, before, state } = request.query;
      const mirrors = await service.list(
        { limit, ...(before && { before }), ...(state && { state }) },
        caller,
      );
      const last = mirrors.length === limit ? mirrors.at(-1) : undefined;
      return { mirrors: mirrors.map((mirror) => toView(mirror)), ...(last && { next: last.id }) };
    },
  );

  app.get(
    '/v1/mirrors/:id',
    {
      schema: {
        tags,
        security,
        summary: 'One mirror, by its own id or that of a request',
        params: idParams,
        response: { 200: mirrorSchema, ...errors },
      },
    },
    async (request) => {
      await auth.byHeader(request);
      return toView(await findMirror(service, request.params.id));
    },
  );

  app.post(
    '/v1/mirrors/:id/cancel',
    {
      schema: {
        tags,
        security,
        summary: 'End a mirror that is under way',
        description:
          'Its copy ends within two seconds. An administrator may end any mirror, others what they alone have asked for. One that was cancelled stays so; one that has ended otherwise is a 409.',
        params: idParams,
        response: { 200: mirrorSchema, ...errors },
      },
    },
    async (request) => {
      const caller = await auth.byHeader(request);
      const { id } = await findMirror(service, request.params.id);
      return toView(await service.cancel(id, caller));
    },
  );

  app.post(
    '/v1/mirrors/:id/retry',
    {
      config: { limit: 'submit' },
      schema: {
        tags,
        security,
        summary: 'Ask again for what a mirror was to bring',
        description:
          'The same source and target, with the logins of who asks now: a new mirror, or the one that is under way, or nothing when it is there. One that pauses before its next try goes on at once.',
        params: idParams,
        response: { 200: mirrorAnswer, ...errors },
      },
    },
    async (request): Promise<MirrorAnswer> => {
      const caller = await auth.byHeader(request);
      const { id } = await findMirror(service, request.params.id);
      return toMirrorAnswer(await service.retry(id, caller));
    },
  );
}

/** By its own id or that of a request. @throws MirrorError `unknown_id`. */
export async function findMirror(service: MirrorService, id: string): Promise<Mirror> {
  const mirror = await service.mirror(id);
  if (mirror) return mirror;
  const record = await service.request(id);
  if (record?.mirror) return record.mirror;
  throw new MirrorError(
    'unknown_id',
    record
      ? 'This request has no mirror: the image was there already, or it was a dry run.'
      : 'There is no mirror with this id.',
  );
}

function toMirrorAnswer({ requestId, target, digest, cached, mirrorId }: Answer): MirrorAnswer {
  return { requestId, target, digest, cached, ...(mirrorId && { mirrorId }) };
}

export function toWait({ until, host }: Wait): WaitView {
  return { until: until.toISOString(), ...(host !== undefined && { host }) };
}

function toView(mirror: Mirror): MirrorView {
  const { id, digest, state, phase, progress, wait, attempts, failure, exitCode } = mirror;
  return {
    id,
    source: formatReference(mirror.source),
    target: formatReference(mirror.target),
    digest,
    state,
    ...(phase && { phase }),
    progress,
    ...(wait && { wait: toWait(wait) }),
    attempts,
    createdAt: mirror.createdAt.toISOString(),
    ...(mirror.startedAt && { startedAt: mirror.startedAt.toISOString() }),
    ...(mirror.finishedAt && { finishedAt: mirror.finishedAt.toISOString() }),
    ...(failure && { failure }),
    ...(exitCode !== undefined && { exitCode }),
  };
}
