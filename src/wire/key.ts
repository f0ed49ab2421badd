import { z } from 'zod';

export const key = z
  .object({
    id: z.string(),
    name: z.string(),
    admin: z.boolean(),
    createdAt: z.string(),
    lastUsedAt: z.string().optional(),
    revokedAt: z.string().optional(),
  })
  .meta({ id: 'Key' });
export type KeyView = z.infer<typeof key>;

export const newKeyRequest = z.object({
  name: z
    .string()
    .trim()
    .regex(/^[^\u0000-\u001f\u007f-\u009f]{1,100}$/, 'give a name of 1 to 100 printable characters'),
  admin: z.boolean().default(false),
});

export const createdKey = key
  .extend({ key: z.string().describe('Shown this once') })
  .meta({ id: 'CreatedKey' });
export type CreatedKey = z.infer<typeof createdKey>;

export const keyList = z.object({ keys: z.array(key) });
