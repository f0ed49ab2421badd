import { z } from 'zod';

export const health = z
  .object({
    status: z.literal('ok'),
    version: z.string(),
    database: z.enum(['ok', 'away']).describe('away: it did not answer within a second'),
    pairings: z
      .array(
        z.object({
          endpoint: z.string(),
          state: z.enum(['connected', 'waiting']).describe('waiting: no socket is open'),
          since: z.string().describe('When this state began; ISO 8601, UTC'),
          lastError: z.string().optional(),
        }),
      )
      .describe('The installations of Seqera Platform that are configured'),
  })
  .meta({ id: 'Health' });
export type Health = z.infer<typeof health>;
