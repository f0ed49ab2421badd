import { z } from 'zod';
import type { App, Dependencies } from '../app.ts';

const health = z.object({ status: z.literal('ok'), version: z.string() });
const serviceInfo = z.object({ serviceInfo: z.object({ version: z.string(), commitId: z.string() }) });

/** What watches the service asks these, however often it likes. */
const config = { limit: 'none' } as const;

export function registerHealth(app: App, { version }: Dependencies): void {
  app.get(
    '/health',
    { config, schema: { tags: ['Service'], summary: 'Whether it serves', response: { 200: health } } },
    () => ({
      status: 'ok' as const,
      version: version.version,
    }),
  );
  app.get(
    '/service-info',
    { config, schema: { tags: ['Wave'], summary: 'Version', response: { 200: serviceInfo } } },
    () => ({
      serviceInfo: version,
    }),
  );
}
