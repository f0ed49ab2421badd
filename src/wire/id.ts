import { z } from 'zod';

/**
 * The id in a path. PostgreSQL's text holds no NUL byte; without it such an id is what it is anyway: unknown.
 */
export const idParams = z.object({ id: z.string().transform((id) => id.replaceAll('\0', '')) });
