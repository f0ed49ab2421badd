import { request } from 'undici';
import type { Dispatchers } from '../lib/http.ts';

/** A request as the SDK hands it to its transport (smithy, HttpRequest). */
interface SdkRequest {
  protocol: string;
  hostname: string;
  port?: number;
  path: string;
  query: Record<string, string | string[] | null>;
  method: 'GET' | 'HEAD' | 'POST' | 'PUT';
  headers: Record<string, string>;
  body?: string | Uint8Array;
}

/** The SDK's transport over our own connections: it knows neither HTTPS_PROXY nor the system's CAs by itself. */
export function createHandler(dispatchers: Dispatchers): Record<string, unknown> {
  return {
    metadata: { handlerProtocol: 'http/1.1' },
    async handle(sent: SdkRequest, { abortSignal }: { abortSignal?: AbortSignal } = {}) {
      const { protocol, hostname, port, path, method, headers, body = '' } = sent;
      const url = new URL(`${protocol}//${hostname}${port ? `:${port}` : ''}${path}${queryOf(sent)}`);
      const answer = await request(url, {
        ...{ method, headers, body: body.length > 0 ? body : null },
        ...(abortSignal && { signal: abortSignal }),
        dispatcher: dispatchers.for(url, url.host),
      });
      const flat = Object.entries(answer.headers).map(([name, value]) => [
        name,
        [value ?? ''].flat().join(', '),
      ]);
      return {
        response: {
          statusCode: answer.statusCode,
          headers: Object.fromEntries(flat) as object,
          body: answer.body,
        },
      };
    },
    updateHttpClientConfig: () => undefined,
    httpHandlerConfigs: () => ({}),
    destroy: () => undefined,
  };
}

function queryOf({ query }: SdkRequest): string {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    [value ?? ''].flat().map((one) => `${encodeURIComponent(name)}=${encodeURIComponent(one)}`),
  );
  return pairs.length > 0 ? `?${pairs.join('&')}` : '';
}
