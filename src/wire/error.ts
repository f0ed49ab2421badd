import { z } from 'zod';

/** Every answer that is not a success. Wave clients show `message` only, so it can be read alone. */
export const errorAnswer = z
  .object({
    message: z.string().describe('What failed and what to do, in full sentences'),
    code: z.string().describe('The kind of failure; see docs/errors.md'),
    side: z.enum(['source', 'target']).optional().describe('The registry at fault'),
    remedy: z.string().optional().describe('What to do'),
  })
  .meta({ id: 'Error' });

export type ErrorAnswer = z.infer<typeof errorAnswer>;
