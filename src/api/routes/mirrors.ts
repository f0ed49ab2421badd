import { MirrorError } from '../../core/errors.ts';
import type { Mirror, Wait } from '../../core/mirror.ts';
import { formatReference } from '../../core/reference.ts';
import type { Outcome } from '../../mirror/batch.ts';
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
  newMirrors,
  type Outcomes,
  outcomes as outcomesSchema,
  type OutcomeView,
  type WaitView,
} from '../../wire/mirror.ts';
import type { App, Dependencies } from '../app.ts';
import { askAll, choiceOf, toErrorView } from '../batch.ts';

const errors = { '4xx': errorAnswer, '5xx': errorAnswer };
const security = [{ key: [] }];
const tags = ['Mirrors'];

/** Our own API: what the command line uses. Always with a key. */
export function registerMirrors(app: App, { service, auth, limits }: Dependencies): void {
  app.post(
    '/v1/mirrors',
    {
      config: { limit: 'submit' },
      schema: {
        tags,
        security,
        summary: 'Mirror images',
        description:
          'Each image to each target, with an outcome for each of these pairs: one that fails is no failure of another, nor of the request. ' +
          'A pair counts as one submit in the limits; those beyond a limit have the error `too_many_requests`, and 429 is answered where there is room for none. ' +
          'What was accepted stays so when the client goes away; the rest is not begun then.',
        body: newMirrors,
        response: { 200: outcomesSchema, ...errors },
      },
    },
    async (request): Promise<Outcomes> => {
      const caller = await auth.byHeader(request);
      const { dryRun = false } = request.body;
      const choice = choiceOf(request.body);
      const found = await askAll(request, limits, ({ image, to }) =>
        service.submit({ image, repository: to, choice, dryRun }, caller),
      );
      return { outcomes: found.map((each) => toOutcome(each)) };
    },
  );

  app.get(
    '/v1/mirrors',
    {
      schema: {
        tags,
        security,
        summary: 'Mirrors, newest first',
        description:
          'All for an administrator, for others what they have asked for. A page goes on behind the last mirror of the one before, whatever has come or was removed since.',
        querystring: listQuery,
        response: { 200: mirrorList, ...errors },
      },
    },
    async (request): Promise<MirrorList> => {
      const caller = await auth.byHeader(request);
      const { limit, cursor, state, ...filter } = request.query;
      const page = await service.list(
        { ...filter, ...(state && { states: state }) },
        { limit, ...(cursor !== undefined && { cursor }) },
        caller,
      );
      return { mirrors: page.mirrors.map((mirror) => toView(mirror)), ...(page.next && { next: page.next }) };
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
          'The same source, target, platforms and referrers, with the logins of who asks now: a new mirror, or the one that is under way, or nothing when it is there. One that pauses before its next try goes on at once.',
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

function toOutcome({ image, to, answer, error }: Outcome<Answer>): OutcomeView {
  if (answer) return { image, to, ...toMirrorAnswer(answer) };
  return { image, to, ...(error && { error: toErrorView(error) }) };
}

export function toWait({ until, host }: Wait): WaitView {
  return { until: until.toISOString(), ...(host !== undefined && { host }) };
}

function toView(mirror: Mirror): MirrorView {
  const { id, digest, selection, state, phase, progress, wait, attempts, failure, arrival, exitCode } =
    mirror;
  const { platforms, referrers } = selection;
  return {
    id,
    source: formatReference(mirror.source),
    target: formatReference(mirror.target),
    digest,
    ...(platforms && { platforms: [...platforms] }),
    referrers: typeof referrers === 'string' ? referrers : [...referrers],
    state,
    ...(phase && { phase }),
    progress,
    ...(wait && { wait: toWait(wait) }),
    attempts,
    createdAt: mirror.createdAt.toISOString(),
    ...(mirror.startedAt && { startedAt: mirror.startedAt.toISOString() }),
    ...(mirror.finishedAt && { finishedAt: mirror.finishedAt.toISOString() }),
    ...(failure && { failure }),
    ...(arrival && { arrival }),
    ...(exitCode !== undefined && { exitCode }),
  };
}
