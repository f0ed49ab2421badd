import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { key, startDray } from './service.ts';

const run = promisify(execFile);
const { schemathesis } = inject('tools');

describe.skipIf(!schemathesis)('the OpenAPI document', () => {
  let service: Awaited<ReturnType<typeof startDray>>;
  beforeAll(async () => (service = await startDray()));
  afterAll(() => service.end());

  it('is what the service does, for requests that Schemathesis makes up', async () => {
    const checks =
      'not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance';
    const args = [
      ...['run', `${service.url}/openapi.json`, '--header', `Authorization: Bearer ${key}`],
      ...['--checks', checks, '--max-examples', '30', '--seed', '1', '--no-color'],
      ...['--phases', 'examples,coverage,fuzzing', '--request-timeout', '20'],
    ];
    const { stdout } = await run(schemathesis ?? '', args, { cwd: service.folder, timeout: 110_000 }).catch(
      (error: unknown) => error as { stdout: string },
    );
    expect(stdout).toMatch(/No issues found/);
  });
});
