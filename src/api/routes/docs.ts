import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod';
import type { App, Dependencies } from '../app.ts';
import { tidyComponents } from '../components.ts';

/** Must come before the routes, which it listens to. */
export async function registerDocs(app: App, { version, url }: Dependencies): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Dray',
        version: version.version,
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
        description:
          'Copies container images, on demand, into a registry that you control.\n\n' +
          'The `/v1` calls take a key made with `dray keys create` as `Authorization: Bearer`. The Wave calls take it as ' +
          '`towerAccessToken` in the body. An access token of a Seqera Platform that is paired with this service does as ' +
          'well; the headers `Platform-Endpoint` and `Platform-Workspace` (in the body: `towerEndpoint` and ' +
          '`towerWorkspaceId`) say of which installation and workspace. Errors answer `{message, code, side?, remedy?}`; 429 and 503 come with Retry-After ' +
          'and mean that the same request may succeed later.',
      },
      servers: [{ url: '/' }],
      components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
      externalDocs: { url: `${url()}/docs`, description: 'This document as a page' },
    },
    transform: jsonSchemaTransform,
    transformObject: (document) => tidyComponents(jsonSchemaTransformObject(document)),
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    theme: { title: 'Dray API' },
    // Without the bar of its makers on top.
    uiConfig: { layout: 'BaseLayout' },
    // Swagger UI's own scripts write inline styles. The default would also send browsers to HTTPS, which a service
    // behind no proxy does not speak, and lets pictures come from elsewhere.
    staticCSP:
      "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
      "font-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'",
  });
}

export function registerOpenapi(app: App): void {
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
}
