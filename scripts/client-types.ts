import openapiTs, { astToString, type OpenAPI3 } from 'openapi-typescript';
import { type AppOptions, createApp } from '../src/api/app.ts';
import { createLogger } from '../src/lib/log.ts';
import { readVersion } from '../src/version.ts';

/** The OpenAPI document of the service. Its routes are registered with nothing behind them, and never called. */
export async function readOpenapi(): Promise<unknown> {
  const limit = { perCaller: 0, perAddress: 0 };
  const options: Partial<AppOptions> = {
    keys: {} as AppOptions['keys'],
    endpoints: [],
    limits: { submit: limit, read: limit, failedLogins: 0 },
    trustedProxies: [],
    version: readVersion(),
    url: () => '',
    logger: createLogger('silent'),
    pairing: {} as AppOptions['pairing'],
  };
  const app = await createApp(options as AppOptions);
  await app.ready();
  const document: unknown = app.swagger();
  return document;
}

/** src/cli/openapi.ts: the types of our API, as its document has them. */
export async function clientTypes(): Promise<string> {
  const nodes = await openapiTs((await readOpenapi()) as OpenAPI3, {
    alphabetize: true,
    defaultNonNullable: false,
  });
  return `// Made of the OpenAPI document by \`node scripts/generate.ts\`.\n\n${astToString(nodes)}`;
}
