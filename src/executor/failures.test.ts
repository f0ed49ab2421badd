import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { manifestOf, noiseLayer, platformsIndex, push, type Pushed } from '../../test/fixtures/image.ts';
import { startRegistry, type TestRegistry } from '../../test/fixtures/registry.ts';
import { answer, type Answerer, forward, type Seen, startStandIn } from '../../test/fixtures/stand-in.ts';
import type { Digest } from '../core/digest.ts';
import type { CopyJob, Endpoint } from './executor.ts';
import { createProcessExecutor } from './process.ts';
import { classifyFailure } from './failures.ts';

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
const fetching = `reading blob ${layer}: Error fetching blob: invalid status code from registry `;
const reusing = `trying to reuse blob ${layer} at destination: `;
const checking = `${reusing}checking whether a blob ${layer} exists in ${T}/app: `;
const starting = `writing blob: initiating layer upload to /v2/app/blobs/uploads/ in ${T}: `;
const patching = `writing blob: Patch "http://${T}/v2/app/blobs/uploads/363f3397": `;
const putting = `writing manifest: uploading manifest ${digest} to ${T}/app: `;

// What Skopeo 1.9.3 said in November 2026. "Real" is Debian's docker-registry 2.8.2 itself; a number is the bare
// status, a capital word the spec's error code that a server between the two answered with.
const corpus: [how: string, said: string, code: string, side?: 'source' | 'target'][] = [
  // The network and TLS.
  [
    'source: closed port',
    `${opening}pinging container registry ${S}: Get "http://${S}/v2/": dial tcp ${S}: connect: connection refused`,
    'refused',
    'source',
  ],
  [
    'target: closed port',
    `${reusing}pinging container registry ${T}: Get "http://${T}/v2/": dial tcp ${T}: connect: connection refused`,
    'refused',
    'target',
  ],
  [
    'source: registry.invalid',
    `initializing source docker://registry.invalid:5000/app@${digest}: pinging container registry registry.invalid:5000: Get "http://registry.invalid:5000/v2/": dial tcp: lookup registry.invalid on 10.255.255.53:53: no such host`,
    'dns',
    'source',
  ],
  [
    'source: accepts and never speaks',
    `${opening}pinging container registry ${S}: Get "https://${S}/v2/": net/http: TLS handshake timeout`,
    'timeout',
    'source',
  ],
  [
    'source: plain HTTP where TLS is wanted',
    `${opening}pinging container registry ${S}: Get "https://${S}/v2/": http: server gave HTTP response to HTTPS client`,
    'tls',
    'source',
  ],
  [
    'target: a CA that nobody trusts',
    `${reusing}pinging container registry ${T}: Get "https://${T}/v2/": x509: certificate signed by unknown authority`,
    'tls',
    'target',
  ],
  [
    'source: a certificate of another host',
    `${opening}pinging container registry ${S}: Get "https://${S}/v2/": x509: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs`,
    'tls',
    'source',
  ],
  [
    'source: closed after the request',
    `${opening}Get "http://${S}/v2/app/manifests/${digest}": EOF`,
    'reset',
    'source',
  ],
  ['source: closed within a manifest', `${opening}unexpected EOF`, 'reset', 'source'],
  ['source: closed within a config', `reading config blob ${layer}: unexpected EOF`, 'reset', 'source'],
  [
    'source: closed within a layer',
    `${patching}readfrom tcp 127.0.0.1:59726->${T}: happened during read: unexpected EOF`,
    'reset',
    'source',
  ],
  [
    'source: TCP reset within a layer',
    `reading blob ${layer}: read tcp 127.0.0.1:41650->${S}: read: connection reset by peer`,
    'reset',
    'source',
  ],
  ['target: closed at PATCH', `${patching}EOF`, 'reset', 'target'],
  [
    'target: TCP reset within a PATCH of 30 MB',
    `${patching}readfrom tcp 127.0.0.1:45622->${T}: write tcp 127.0.0.1:45622->${T}: use of closed network connection`,
    'reset',
    'target',
  ],
  [
    'target: closed at PUT of the manifest',
    `writing manifest: Put "http://${T}/v2/": EOF`,
    'reset',
    'target',
  ],

  // Not a registry, or one that is down.
  [
    'source: 404 for /v2/',
    `${opening}pinging container registry ${S}: invalid status code from registry 404 (Not Found)`,
    'protocol',
    'source',
  ],
  ['source: 400 for a manifest', `${reading}StatusCode: 400, `, 'protocol', 'source'],
  [
    'source: 503 for /v2/',
    `${opening}pinging container registry ${S}: invalid status code from registry 503 (Service Unavailable)`,
    'registry_unavailable',
    'source',
  ],
  [
    'source: 502 for a manifest',
    `${reading}received unexpected HTTP status: 502 Bad Gateway`,
    'registry_unavailable',
    'source',
  ],
  ['source: 500 for a blob', `${fetching}500 (Internal Server Error)`, 'registry_unavailable', 'source'],
  [
    'source: 500 from the token server',
    `${opening}Requesting bearer token: invalid status code from registry 500 (Internal Server Error)`,
    'registry_unavailable',
    'source',
  ],
  [
    'target: 500 for HEAD of a blob',
    `${reusing}failed to read from destination repository app: 500 (Internal Server Error)`,
    'registry_unavailable',
    'target',
  ],
  [
    'target: 503 for PATCH',
    'writing blob: uploading layer chunked: received unexpected HTTP status: 503 Service Unavailable',
    'registry_unavailable',
    'target',
  ],

  // Limits.
  [
    'source: TOOMANYREQUESTS, in the words of Docker Hub',
    `${reading}toomanyrequests: You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit`,
    'rate_limited',
    'source',
  ],
  ['source: 429 for a manifest', `${reading}StatusCode: 429, `, 'rate_limited', 'source'],
  [
    'source: 429 for a blob',
    `reading blob ${layer}: too many requests to registry`,
    'rate_limited',
    'source',
  ],
  ['target: 429 for POST', `${starting}StatusCode: 429, `, 'rate_limited', 'target'],

  // What is missing.
  [
    'source: no such manifest (real)',
    `${reading}manifest unknown: manifest unknown`,
    'manifest_unknown',
    'source',
  ],
  ['source: 404 for a manifest', `${reading}StatusCode: 404, `, 'manifest_unknown', 'source'],
  ['source: NAME_UNKNOWN', `${reading}name unknown`, 'manifest_unknown', 'source'],
  [
    'source: 404 for a child of an index',
    `copying image 1/2 from manifest list: determining manifest MIME type for docker://${S}/app@${digest}: reading manifest ${layer} in ${S}/app: StatusCode: 404, `,
    'manifest_unknown',
    'source',
  ],
  ['source: layer deleted (real)', `${fetching}404 (Not Found)`, 'blob_unknown', 'source'],

  // What is not what it says.
  [
    'source: a byte added to the manifest',
    `determining manifest MIME type for docker://${S}/app@${digest}: Manifest does not match provided manifest digest ${digest}`,
    'digest_mismatch',
    'source',
  ],
  [
    'source: a byte changed in a layer',
    `${patching}happened during read: Digest did not match, expected ${layer}, got ${digest}`,
    'digest_mismatch',
    'source',
  ],
  [
    'target: DIGEST_INVALID',
    `writing blob: uploading layer to http://${T}/v2/app/blobs/uploads/c01d248f: digest invalid`,
    'digest_mismatch',
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

  // What the target refuses.
  ['target: read-only (real)', `${starting}StatusCode: 405, Method not allowed `, 'push_refused', 'target'],
  [
    'target: NAME_UNKNOWN, in the words of ECR',
    `${starting}name unknown: The repository with name 'app' does not exist in the registry with id '1234'`,
    'push_refused',
    'target',
  ],
  [
    'target: 413 for PATCH',
    'writing blob: uploading layer chunked: StatusCode: 413, ',
    'push_refused',
    'target',
  ],
  ['target: 409 for PUT of the manifest', `${putting}StatusCode: 409, `, 'push_refused', 'target'],
  ['target: MANIFEST_INVALID', `${putting}manifest invalid`, 'push_refused', 'target'],
  [
    'target: 412, in the words of Harbor',
    `${putting}unknown: configured as immutable`,
    'immutable_tag',
    'target',
  ],
  ['target: MANIFEST_BLOB_UNKNOWN', `${putting}manifest blob unknown`, 'copy_failed', 'target'],

  // Rights.
  ['source: DENIED', `${reading}denied`, 'denied', 'source'],
  ['source: 403 for a blob', `${fetching}403 (Forbidden)`, 'denied', 'source'],
  [
    'target: 403 for HEAD of a blob',
    `${reusing}failed to read from destination repository app: 403 (Forbidden)`,
    'denied',
    'target',
  ],
  ['target: 403 for PUT of the manifest', `${putting}StatusCode: 403, `, 'denied', 'target'],
  [
    '--policy with type reject',
    `Source image rejected: Running image docker://${S}/app@${digest} is rejected by policy.`,
    'denied',
    'source',
  ],
];

describe('classifyFailure', () => {
  it.each(corpus)('names cause and side of: %s', (_, said, code, side) => {
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

  // Provoked with a token server that grants less than was asked for, as Docker Hub's does.
  it('tells an account without the right from a wrong password', () => {
    const said = `${reading}errors: denied: requested access to the resource is denied unauthorized `;
    expect(classifyFailure(said, job({ credential }), '').code).toBe('denied');
    expect(classifyFailure(said, job(), '').code).toBe('login_required');
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

// The words above are those of one version: a sample of the faults, for the Skopeo that is installed.
describe('a failing copy', () => {
  const folder = mkdtempSync(join(tmpdir(), 'dray-failures-'));
  const env = { PATH: process.env['PATH'] ?? '', XDG_DATA_HOME: folder };
  const executor = createProcessExecutor({ skopeo: 'skopeo', runDir: join(folder, 'run'), env });
  let source: TestRegistry;
  let target: TestRegistry;
  let image: Pushed;
  let index: Pushed;
  beforeAll(async () => {
    [source, target] = await Promise.all([startRegistry(), startRegistry()]);
    image = await push(source.url, 'app', undefined, manifestOf([noiseLayer(Date.now() % 1e6, 20_000)]));
    index = await push(source.url, 'app', undefined, platformsIndex(Date.now() % 1e6, { size: 500 }));
  });
  afterAll(async () => {
    await Promise.all([source.stop(), target.stop()]);
    rmSync(folder, { recursive: true });
  });

  const status =
    (code: number): Answerer =>
    (_, response) =>
      answer(response, code);
  const isLayer = ({ method, path }: Seen) =>
    method === 'GET' && path.endsWith(image.children[1]?.digest ?? '');
  const altered: Answerer = (_, response) => answer(response, 200, Buffer.alloc(20_000));
  const cut: Answerer = (_, response) => {
    response.writeHead(200, { 'content-length': 20_000 });
    response.write('half', () => response.destroy());
  };
  const puts = ({ method, path }: Seen) => method === 'PUT' && path.includes('/manifests/');
  const putsIndex = (seen: Seen) => puts(seen) && seen.path.endsWith(index.digest);

  it.each<['source' | 'target', string, () => Pushed, (seen: Seen) => boolean, Answerer, string]>([
    ['source', '503 for everything', () => image, () => true, status(503), 'registry_unavailable'],
    ['source', '404 for a layer', () => image, isLayer, status(404), 'blob_unknown'],
    ['source', 'other bytes for a layer', () => image, isLayer, altered, 'digest_mismatch'],
    ['source', 'half a layer', () => image, isLayer, cut, 'reset'],
    ['target', '403 for an upload', () => image, ({ method }) => method === 'POST', status(403), 'denied'],
    ['target', '500 for a manifest', () => image, puts, status(500), 'registry_unavailable'],
    ['target', '403 for an index', () => index, putsIndex, status(403), 'denied'],
    ['target', '500 for an index', () => index, putsIndex, status(500), 'registry_unavailable'],
  ])('where the %s answers %s', async (side, what, pushed, when, fault, code) => {
    const behind = forward({ source, target }[side].url);
    const front = await startStandIn((seen, response) => (when(seen) ? fault : behind)(seen, response));
    const at = (own: 'source' | 'target', path: string): Endpoint => ({
      registry: own === side ? front.host : { source, target }[own].host,
      path,
      insecure: true,
    });
    const copy: CopyJob = {
      id: 'mr-0',
      digest: pushed().digest as Digest,
      source: at('source', 'app'),
      target: at('target', what.replaceAll(' ', '-')),
      timeLimit: 60,
      stallLimit: 60,
    };
    const run = executor.run(copy, () => undefined, new AbortController().signal);
    await expect(run).rejects.toMatchObject({ code, side });
    await front.stop();
  });
});
