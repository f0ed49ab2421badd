import { z } from 'zod';
import { failure, mirrorState, phase, progress, wait } from './mirror.ts';

const common = { mirror: z.string().describe("The mirror's id"), at: z.iso.datetime() };

export const stateEvent = z
  .object({
    type: z.literal('state'),
    ...common,
    state: mirrorState.describe('`done`, `failed` and `cancelled` are final'),
    attempts: z.number().describe('Copies that were started so far'),
    progress,
    failure: failure.optional().describe('Why it failed; of `queued`: why its last try did'),
    wait: wait.optional().describe('Of `queued`: when it is tried again. It ends with the next state'),
    exitCode: z.number().optional().describe("Skopeo's exit status, where it ran"),
  })
  .meta({ id: 'StateEvent' });

export const layerEvent = z
  .object({
    type: z.literal('layer'),
    ...common,
    digest: z.string(),
    size: z.number().describe('Compressed bytes'),
    state: z
      .enum(['started', 'done', 'skipped', 'mounted'])
      .describe(
        'Each layer ends once: `done` was sent, `skipped` was there already, `mounted` was there in another repository',
      ),
  })
  .meta({ id: 'LayerEvent' });

export const progressEvent = z
  .object({ type: z.literal('progress'), ...common, phase: phase.optional(), ...progress.shape })
  .meta({ id: 'ProgressEvent' });

/** What `data:` of a server-sent event has; `event:` has its type. */
export const mirrorEvent = z
  .discriminatedUnion('type', [stateEvent, layerEvent, progressEvent])
  .meta({ id: 'MirrorEvent' });
export type MirrorEventView = z.infer<typeof mirrorEvent>;

export type LayerEventView = z.infer<typeof layerEvent>;

/** Digits: more than any place has are a fault of who sent them, and none of the database's. */
const mirrorPlace = /^[0-9]{1,15}$/;
const allPlace = /^[0-9]{1,18}-[0-9]{1,15}$/;

const lastEventId = (place: RegExp) =>
  z.object({
    'last-event-id': z
      .string()
      .refine((text) => text === '' || place.test(text), 'give the id of an event of this stream')
      .optional()
      .describe('Go on behind this event'),
  });
export const mirrorStreamHeaders = lastEventId(mirrorPlace);
export const allStreamHeaders = lastEventId(allPlace);
