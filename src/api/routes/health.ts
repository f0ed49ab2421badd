import { z } from 'zod';
import { type Health, health } from '../../wire/health.ts';
import type { App, Dependencies } from '../app.ts';

const serviceInfo = z.object({ serviceInfo: z.object({ version: z.string(), commitId: z.string() }) });

/** What watches the service asks these, however often it likes. */
const config = { limit: 'none' } as const;

export function registerHealth(app: App, { version, pairing, pulse }: Dependencies): void {
  app.get(
    '/health',
    { config, schema: { tags: ['Service'], summary: 'Whether it serves', response: { 200: health } } },
    // Always 200: whoever would end a service that can't reach its database would not mend that.
    async (): Promise<Health> => ({
      status: 'ok',
      version: version.version,
      database: (await pulse()) ? 'ok' : 'away',
      pairings: pairing.channel.states().map(({ endpoint, state, since, lastError }) => ({
        endpoint,
        state,
        since: since.toISOString(),
        ...(lastError !== undefined && { lastError }),
      })),
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
