import { z } from 'zod';
import { type Health, health } from '../../wire/health.ts';
import type { App, Dependencies } from '../app.ts';

const serviceInfo = z.object({ serviceInfo: z.object({ version: z.string(), commitId: z.string() }) });

/** What watches the service asks these, however often it likes. */
const config = { limit: 'none' } as const;

export function registerHealth(app: App, { version, pairing }: Dependencies): void {
  app.get(
    '/health',
    { config, schema: { tags: ['Service'], summary: 'Whether it serves', response: { 200: health } } },
    (): Health => ({
      status: 'ok',
      version: version.version,
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
