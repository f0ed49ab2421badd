import { describe, expect, it } from 'vitest';
import type { CopyJob, Endpoint } from './executor.ts';
import { classifyFailure, stoodStill, throttledBy, tookTooLong } from './failures.ts';

const digest = 'sha256:a4621ab7d1ed1a5d987da35735bd8506dea959df76a4ceebd81b8b067700d163';
const layer = 'sha256:7038e464ec2d09ae104a6014b1201c2de64081e2d1b0f431cb2b2ac0678b4944';
const S = '127.0.0.1:5001';
const T = '127.0.0.1:5002';

const credential = { username: 'admin', password: 'x' };
function job(end: Partial<Endpoint> = {}): CopyJob {
  const both = { path: 'app', insecure: true, ...end };
  return {
    ...{ id: 'mr-0', digest, timeLimit: 60, stallLimit: 60 },
    source: { registry: S, ...both },
    target: { registry: T, ...both },
  };
}

const opening = `initializing source docker://${S}/app@${digest}: `;
const reading = `${opening}reading manifest ${digest} in ${S}/app: `;
const reusing = `trying to reuse blob ${layer} at destination: `;
const checking = `${reusing}checking whether a blob ${layer} exists in ${T}/app: `;
const patching = `writing blob: Patch "http://${T}/v2/app/blobs/uploads/363f3397": `;
const putting = `writing manifest: uploading manifest ${digest} to ${T}/app: `;

// What the faults of test/vectors/skopeo leave out, as Skopeo 1.9.3 said it in November 2026.
const rest: [how: string, said: string, code: string, side?: 'source' | 'target'][] = [
  [
    'target: 504 of an upload',
    'writing blob: uploading layer chunked: received unexpected HTTP status: 504 Gateway Timeout',
    'registry_unavailable',
    'target',
  ],
  [
    'source: accepts and never speaks',
    `${opening}pinging container registry ${S}: Get "https://${S}/v2/": net/http: TLS handshake timeout`,
    'timeout',
    'source',
  ],
  ['source: closed within a config', `reading config blob ${layer}: unexpected EOF`, 'reset', 'source'],
  [
    'source: TCP reset within a layer',
    `reading blob ${layer}: read tcp 127.0.0.1:41650->${S}: read: connection reset by peer`,
    'reset',
    'source',
  ],
  [
    'target: TCP reset within a PATCH of 30 MB',
    `${patching}readfrom tcp 127.0.0.1:45622->${T}: write tcp 127.0.0.1:45622->${T}: use of closed network connection`,
    'reset',
    'target',
  ],
  [
    'source: JSON that is no manifest',
    `initializing image from source docker://${S}/app@${digest}: unsupported schema version 0`,
    'unsupported_manifest',
    'source',
  ],
  [
    'source: an index within an index',
    'copying image 1/1 from manifest list: Unexpectedly received a manifest list instead of a manifest for a single image',
    'unsupported_manifest',
    'source',
  ],
  [
    'target: 412, in the words of Harbor',
    `${putting}unknown: configured as immutable`,
    'immutable_tag',
    'target',
  ],
  [
    '--policy with type reject',
    `Source image rejected: Running image docker://${S}/app@${digest} is rejected by policy.`,
    'denied',
    'source',
  ],
];

describe('classifyFailure', () => {
  it.each(rest)('names cause and side of: %s', (_, said, code, side) => {
    expect(classifyFailure(said, job(), '')).toMatchObject({ code, side });
  });

  it.each([
    ['source: no login, or a wrong one (real)', `${reading}unauthorized: authentication required`, 'source'],
    ['target: no login, or a wrong one (real)', `${checking}unauthorized: authentication required`, 'target'],
    ['source: UNAUTHORIZED', `${reading}unauthorized`, 'source'],
    [
      'source: the token server says 401',
      `${opening}unable to retrieve auth token: invalid username/password: unauthorized: incorrect username or password`,
      'source',
    ],
    [
      'source: the token server says 403',
      `${opening}Requesting bearer token: invalid status code from registry 403 (Forbidden)`,
      'source',
    ],
  ])('asks for a login, or says that the one it got is wrong, for: %s', (_, said, side) => {
    expect(classifyFailure(said, job(), '')).toMatchObject({ code: 'login_required', side });
    expect(classifyFailure(said, job({ credential }), '')).toMatchObject({
      code: 'credentials_rejected',
      side,
    });
  });

  it('takes a full disk for the registry’s where the words are, and else for its own', () => {
    const words = 'write /x: no space left on device';
    expect(classifyFailure(`${putting}unknown: ${words}`, job(), '')).toMatchObject({
      code: 'registry_full',
      side: 'target',
    });
    expect(classifyFailure(words, job(), '').code).toBe('disk_full');
  });

  it('says how long a copy stood still or took, and who was waited for', () => {
    expect(stoodStill(job(), true, S)).toMatchObject({ code: 'timeout', side: 'source', retryable: true });
    expect(stoodStill(job(), true, undefined).side).toBeUndefined();
    expect(stoodStill(job(), true, undefined).message).toContain('for 60 s, Skopeo neither read nor wrote');
    expect(tookTooLong(job(), 0)).toMatchObject({ code: 'time_limit', retryable: false });
    expect(tookTooLong(job(), 3)).toMatchObject({ code: 'time_limit', retryable: true });
  });

  it('knows who throttles by the host, Docker Hub’s included', () => {
    const hub = { ...job(), source: { registry: 'docker.io', path: 'app', insecure: false } };
    const error = throttledBy({ host: 'registry-1.docker.io', retryAfter: 9 }, hub);
    expect(error).toMatchObject({ code: 'rate_limited', side: 'source', retryAfter: 9 });
    expect(throttledBy({ host: T }, hub)).toMatchObject({ side: 'target', retryAfter: undefined });
    expect(throttledBy({ host: 'store.example' }, hub).side).toBeUndefined();
  });

  it.each(['denied', 'x/certificate-manager', 'team/timeout', 'unauthorized/401', 'not-found/404'])(
    'is not misled by an image called %s',
    (path) => {
      const said = (text: string) => text.replaceAll('/app', `/${path}`).replaceAll(' app', ` ${path}`);
      for (const text of [
        `${reading}received unexpected HTTP status: 500 Internal Server Error`,
        `${reusing}failed to read from destination repository app: 500 (Internal Server Error)`,
      ])
        expect(classifyFailure(said(text), job({ path }), '').code).toBe('registry_unavailable');
    },
  );

  it('is not misled by a port', () => {
    const said = `${opening}Get "http://10.0.0.1:404/v2/": dial tcp 10.0.0.1:404: connect: connection refused`;
    expect(classifyFailure(said, job(), '').code).toBe('refused');
  });

  it('knows the side by the host when the words do not tell it', () => {
    const said = (host: string) => classifyFailure(`something new about ${host}/app`, job(), '');
    expect(said(S)).toMatchObject({ code: 'copy_failed', side: 'source', retryable: true });
    expect(said(T)).toMatchObject({ code: 'copy_failed', side: 'target' });
    expect(said('elsewhere').side).toBeUndefined();
  });

  it('says how Skopeo ended when it said nothing', () => {
    expect(classifyFailure('', job(), 'by SIGKILL').message).toContain('it ended by SIGKILL');
  });
});

describe('what the guard has refused', () => {
  const said = (host: string) =>
    `initializing source docker://${host}/app@${digest}: pinging container registry ${host}: invalid status code from registry 403 (Forbidden)`;
  const refused = '10.1.2.3 is a private address that this service does not go to';

  it('is named instead of what Skopeo made of it, with the side', () => {
    const error = classifyFailure(said('127.0.0.1:5001'), job(), '', refused);
    expect(error).toMatchObject({ code: 'address_refused', side: 'source', retryable: false });
    expect(error.message).toContain(refused);
    const writing = `writing blob: Patch "https://10.1.2.3/x": ${refused}`;
    expect(classifyFailure(writing, job(), '', refused).side).toBe('target');
  });

  // Provoked with a redirect, see test/e2e/egress.test.ts.
  it('is named when it was the way from HTTPS to plain HTTP', () => {
    const words = 'refusing to use HTTP_PROXY value in CGI environment; see golang.org/s/cgihttpproxy';
    const error = classifyFailure(
      `reading blob ${layer}: Get "http://127.0.0.1:6379/x": ${words}`,
      job(),
      '',
    );
    expect(error).toMatchObject({ code: 'protocol', side: 'source' });
    expect(error.message).toContain('plain HTTP at 127.0.0.1:6379;');
  });
});
