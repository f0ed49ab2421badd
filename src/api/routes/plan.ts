import { errorAnswer } from '../../wire/error.ts';
import { newMirrors } from '../../wire/mirror.ts';
import { plans, type Plans } from '../../wire/plan.ts';
import type { App, Dependencies } from '../app.ts';
import { askAll, choiceOf, toErrorView } from '../batch.ts';
import { toPlan } from '../plan-view.ts';

/** What mirroring would do, before it is done. */
export function registerPlan(app: App, { service, auth, limits }: Dependencies): void {
  app.post(
    '/v1/plan',
    {
      config: { limit: 'submit' },
      schema: {
        tags: ['Mirrors'],
        security: [{ key: [] }],
        summary: 'Say what mirroring would do',
        description:
          'The body and the limits are those of `POST /v1/mirrors`, with or without `dryRun`. Nothing is started or recorded. The manifests of the source are read, which a quota of pulls counts.',
        body: newMirrors,
        response: { 200: plans, '4xx': errorAnswer, '5xx': errorAnswer },
      },
    },
    async (request): Promise<Plans> => {
      const caller = await auth.byHeader(request);
      const choice = choiceOf(request.body);
      const found = await askAll(request, limits, ({ image, to }) =>
        service.forecast({ image, repository: to, choice, dryRun: true }, caller),
      );
      return {
        plans: found.map(({ image, to, answer, error }) => ({
          ...{ image, to },
          ...(answer && { plan: toPlan(answer) }),
          ...(error && { error: toErrorView(error) }),
        })),
      };
    },
  );
}
