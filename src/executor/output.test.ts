import { describe, expect, it } from 'vitest';
import type { CopyEvent, CopyJob } from './executor.ts';
import { classifyFailure } from './failures.ts';
import { createOutputReader } from './output.ts';

const digest = 'sha256:a4621ab7d1ed1a5d987da35735bd8506dea959df76a4ceebd81b8b067700d163';
const layer = 'sha256:7038e464ec2d09ae104a6014b1201c2de64081e2d1b0f431cb2b2ac0678b4944';
const config = 'sha256:b3ec779a5f045ef7176edbc4692ce6147248b35862202a05ef16d3c8575667c6';

const job: CopyJob = {
  id: 'mr-0',
  digest,
  source: { registry: '127.0.0.1:5001', path: 'app', insecure: false },
  target: { registry: '127.0.0.1:5002', path: 'app', insecure: false },
  timeLimit: 60,
  stallLimit: 60,
};

// Lines that Skopeo 1.9.3 wrote when it copied a small image between two docker-registries.
describe('createOutputReader', () => {
  const debug = (message: string) => `time="2026-11-24T19:27:36Z" level=debug msg="${message}"`;
  const readAll = (...lines: string[]): CopyEvent[] => {
    const reader = createOutputReader();
    return lines.flatMap((line) => reader.read(line));
  };
  const blob = (of: string, state: string) => ({ type: 'blob', digest: of, state });

  it('tells the start and the end of an upload', () => {
    expect(
      readAll(
        debug(`Checking /v2/app/blobs/${layer}`),
        debug('... not present'),
        debug(`Downloading /v2/app/blobs/${layer}`),
        debug('Uploading /v2/app/blobs/uploads/'),
        debug(`Upload of layer ${layer} complete`),
      ),
    ).toEqual([blob(layer, 'started'), blob(layer, 'done')]);
  });

  it('tells a blob that is there from one that was mounted', () => {
    const mount = 'from=app&mount=sha256%3A7038e464ec2d09ae104a6014b1201c2de64081e2d1b0f431cb2b2ac0678b4944';
    expect(
      readAll(
        debug(`Trying to mount /v2/other/blobs/uploads/?${mount}`),
        debug('... mount OK'),
        debug(`Skipping blob ${layer} (already present):`),
        debug(`Skipping blob ${config} (already present):`),
      ),
    ).toEqual([blob(layer, 'mounted'), blob(config, 'skipped')]);
  });

  it('logs what a user would see, and not what is for debugging', () => {
    expect(
      readAll(
        'Getting image source signatures',
        debug('IsRunningImageAllowed for image docker:127.0.0.1:5001/app'),
        `Copying config ${config}`,
        '',
        'time="2026-11-24T19:27:36Z" level=warning msg="Failed, retrying in 1s ... (1/3)"',
      ),
    ).toEqual([
      { type: 'log', line: 'Getting image source signatures' },
      { type: 'log', line: `Copying config ${config}` },
      { type: 'log', line: 'warning: Failed, retrying in 1s ... (1/3)' },
    ]);
  });

  it('keeps the fatal message without its frame, and logs it', () => {
    const reader = createOutputReader();
    const said = reader.read(
      `time="2026-11-24T19:25:35Z" level=fatal msg="reading blob ${layer}: Get \\"http://127.0.0.1:5001/v2/\\": EOF"`,
    );
    expect(reader.fatal()).toBe(`reading blob ${layer}: Get "http://127.0.0.1:5001/v2/": EOF`);
    expect(said).toEqual([{ type: 'log', line: `fatal: ${reader.fatal()}` }]);
  });

  it('shows neither signatures nor logins of URLs', () => {
    const reader = createOutputReader();
    const events = [
      reader.read('Copying from https://user:s3cr3t@store.example/blob?X-Signature=s1gned done'),
      reader.read(
        'time="2026-11-24T19:25:35Z" level=fatal msg="writing blob: Patch \\"http://127.0.0.1:5002/v2/app/blobs/uploads/1?_state=s1gned\\": EOF"',
      ),
    ];
    expect(JSON.stringify(events) + reader.fatal()).not.toMatch(/s3cr3t|s1gned/);
    expect(events[0]).toEqual([{ type: 'log', line: 'Copying from https://store.example/blob done' }]);
  });

  const told = (header: string, wait: string, url = 'http://127.0.0.1:5001/v2/app/manifests/x?a=s1gned') => {
    const reader = createOutputReader();
    const events = [
      ...(header ? [reader.read(debug(`Detected 'Retry-After' header \\"${header}\\"`))] : []),
      reader.read(debug(`Too many requests to ${url}: sleeping for ${wait} seconds before next attempt`)),
    ];
    return { throttle: reader.throttled(), events: events.flat() };
  };

  it('tells that a registry throttles, and for how long it asks to wait', () => {
    const { throttle, events } = told('30', '30.000000');
    expect(throttle).toEqual({ host: '127.0.0.1:5001', retryAfter: 30 });
    expect(events).toEqual([
      { type: 'log', line: 'Too many requests to http://127.0.0.1:5001/v2/app/manifests/x' },
    ]);
    const token = (actions: string) =>
      told('', '2.000000', `https://auth.io/token?scope=repository%3Aapp%3A${actions}&service=r`).throttle;
    expect(token('pull%2Cpush')).toEqual({ host: 'auth.io', pushes: true });
    expect(token('pull')).toEqual({ host: 'auth.io' });
    // The wait is cut to a minute, the header is not.
    expect(told('3600', '60.000000').throttle?.retryAfter).toBe(3600);
    const later = new Date(Date.now() + 600_000).toUTCString();
    expect(told(later, '60.000000').throttle?.retryAfter).toBeGreaterThan(595);
    expect(told('7', '7.000000', 'https://registry-1.docker.io/v2/').throttle?.host).toBe(
      'registry-1.docker.io',
    );
  });

  it('takes a wait that Skopeo made up for none', () => {
    expect(told('', '2.000000').throttle).toEqual({ host: '127.0.0.1:5001' });
    expect(told('soon', '2.000000').throttle?.retryAfter).toBeUndefined();
    // The header was another request's.
    expect(told('30', '2.000000').throttle?.retryAfter).toBeUndefined();
  });

  it('tells whose answer is awaited where that is certain', () => {
    const after = (...messages: string[]) => {
      const reader = createOutputReader();
      messages.forEach((message) => reader.read(debug(message)));
      return reader.awaited();
    };
    expect(after('GET https://quay.io/v2/')).toBe('quay.io');
    expect(after('GET https://quay.io/v2/', 'Ping https://quay.io/v2/ status 200')).toBe('quay.io');
    expect(after('GET https://quay.io/v2/', 'HEAD https://ghcr.io/v2/a/blobs/sha256:0')).toBeUndefined();
  });

  // Provoked with 403 for the PUT of the index: Skopeo then tries to convert it, which it may not.
  it.each([
    'must be converted to type \\"application/vnd.docker.distribution.manifest.list.v2+json\\" to be written to destination',
    'was edited',
  ])('gives the target’s answer to an index instead of the attempt to convert it: %s', (attempt) => {
    const reader = createOutputReader();
    reader.read(
      debug(
        `Upload of manifest list type application/vnd.oci.image.index.v1+json failed: uploading manifest ${digest} to 127.0.0.1:5002/app: StatusCode: 403, `,
      ),
    );
    reader.read(
      `time="2026-11-24T19:27:36Z" level=fatal msg="Manifest list ${attempt}, but we cannot modify it: \\"Instructed to preserve digests\\""`,
    );
    expect(reader.fatal()).toBe(`uploading manifest ${digest} to 127.0.0.1:5002/app: StatusCode: 403, `);
    expect(classifyFailure(reader.fatal(), job, '')).toMatchObject({ code: 'denied', side: 'target' });
  });
});
