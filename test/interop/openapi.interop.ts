import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { platformsIndex, push } from '../fixtures/image.ts';
import { startRegistry, type TestRegistry } from '../fixtures/registry.ts';
import { key, settled, startDray, submit } from './service.ts';

const run = promisify(execFile);
const { schemathesis } = inject('tools');

describe.skipIf(!schemathesis)('the OpenAPI document', () => {
  let source: TestRegistry;
  let target: TestRegistry;
  let service: Awaited<ReturnType<typeof startDray>>;
  beforeAll(async () => {
    [source, target, service] = await Promise.all([startRegistry(), startRegistry(), startDray()]);
  });
  afterAll(() => Promise.all([service.end(), source.stop(), target.stop()]));

  it('is what the service does, for requests that Schemathesis makes up', async () => {
    await push(source.url, 'lib/a', 'v1', platformsIndex(1));
    const { buildId, requestId } = await submit(service.url, `${source.host}/lib/a:v1`, target.host);
    await settled(service.url, buildId);
    // Made-up ids would be answered by 404 alone.
    const ids: Record<string, string> = {
      '/v1/mirrors/{id}': buildId,
      '/v1alpha1/mirrors/{id}': buildId,
      '/v1alpha1/mirrors/{id}/logs': buildId,
      '/v1alpha2/container/{id}': requestId,
      '/v1alpha2/container/{id}/status': requestId,
    };
    const entries = Object.entries(ids).map(
      ([path, id]) => `[[operations]]\ninclude-path = "${path}"\nparameters = { "path.id" = "${id}" }\n`,
    );
    await writeFile(join(service.folder, 'schemathesis.toml'), entries.join('\n'));

    const checks = [
      'not_a_server_error',
      'status_code_conformance',
      'content_type_conformance',
      'response_schema_conformance',
    ];
    const args = [
      ...['run', `${service.url}/openapi.json`, '--header', `Authorization: Bearer ${key}`],
      ...['--checks', checks.join(','), '--max-examples', '30', '--seed', '1', '--no-color'],
      // Streams do not end.
      ...['--exclude-path-regex', '/events$'],
      ...['--phases', 'examples,coverage,fuzzing', '--request-timeout', '20'],
    ];
    const { stdout } = await run(schemathesis ?? '', args, { cwd: service.folder, timeout: 110_000 }).catch(
      (error: unknown) => error as { stdout: string },
    );
    const failures = /^=+ FAILURES =+$[^]*?(?=^=+ \w+ =+$)/m.exec(stdout)?.[0] ?? '';
    expect(failures).toBe('');
    // A pattern that it can't make up values for is no fault of the service; no requests at all would be.
    expect(Number(/([0-9]+) generated/.exec(stdout)?.[1]), stdout).toBeGreaterThan(100);
  });
});
