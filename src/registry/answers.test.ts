import { createHash } from 'node:crypto';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { docker, oci } from '../../test/fixtures/image.ts';
import {
  answer,
  type Answerer,
  type Seen,
  type StandIn,
  startStandIn,
} from '../../test/fixtures/stand-in.ts';
import type { Digest } from '../core/digest.ts';
import { allowAll } from '../lib/address.ts';
import type { MirrorError } from '../core/errors.ts';
import { createRegistry } from './client.ts';

const access = { signal: new AbortController().signal };
const bytes = Buffer.from(
  JSON.stringify({ schemaVersion: 2, mediaType: oci.manifest, config: {}, layers: [] }),
);
const digest: Digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const sha512: Digest = `sha512:${createHash('sha512').update(bytes).digest('hex')}`;
const other: Digest = `sha256:${'1'.repeat(64)}`;
const manifest = { bytes, digest, mediaType: oci.manifest, size: bytes.length };

const client = createRegistry({ hosts: new Map(), proxy: {}, policy: allowAll });
const standIns: StandIn[] = [];
afterEach(() => Promise.all(standIns.splice(0).map((standIn) => standIn.stop())));
afterAll(() => client.close());

/** A registry that gives this answer to everything. */
async function registry(answerer: Answerer) {
  const standIn = await startStandIn(answerer);
  standIns.push(standIn);
  return { ...standIn, reference: { registry: standIn.host, path: 'a', tag: 'v1' } };
}
const always =
  (status: number, body: unknown = '', headers: Record<string, string> = {}): Answerer =>
  (_, response) =>
    answer(response, status, body, headers);
const errors = (code: string, message: string, detail?: unknown) => ({ errors: [{ code, message, detail }] });
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error as MirrorError,
  );
const type = { 'content-type': oci.manifest };

// What a real registry can't be made to say.
describe('looking for a blob', () => {
  it('takes it for whole where the registry does not say how large it is', async () => {
    const { reference } = await registry(always(200, '', { 'transfer-encoding': 'chunked' }));
    expect(await client.lookForBlob(reference, { digest, size: 12_345 }, access)).toBe('there');
  });
});

describe('reading a manifest', () => {
  it('hashes the bytes itself where the registry names no digest', async () => {
    const { reference, seen } = await registry(always(200, bytes, type));
    expect(await client.resolve(reference, access)).toMatchObject({ digest, size: bytes.length });
    expect(seen.map(({ method }) => method)).toEqual(['HEAD', 'GET']);
  });

  it('hashes the bytes itself where the registry names something that is no digest', async () => {
    const { reference } = await registry(
      always(200, bytes, { ...type, 'docker-content-digest': 'sha256:x' }),
    );
    expect(await client.resolve(reference, access)).toMatchObject({ digest });
  });

  it('reads where the registry has no HEAD', async () => {
    const { reference } = await registry(({ method }, response) =>
      method === 'HEAD' ? answer(response, 405) : answer(response, 200, bytes, type),
    );
    expect(await client.resolve(reference, access)).toMatchObject({ digest });
  });

  it('refuses another digest than the one that was asked for', async () => {
    const { reference } = await registry(always(200, bytes, { ...type, 'docker-content-digest': digest }));
    const wanted = { ...reference, digest: other };
    for (const read of [client.resolve, client.manifest])
      expect(await failure(read(wanted, access))).toMatchObject({ code: 'digest_mismatch' });
  });

  it('hashes what it reads, whatever the registry calls it', async () => {
    const lying = always(200, `${bytes.toString()} `, { ...type, 'docker-content-digest': digest });
    const { reference } = await registry(lying);
    expect(await failure(client.manifest({ ...reference, digest }, access))).toMatchObject({
      code: 'digest_mismatch',
    });
  });

  it('verifies sha512 as well', async () => {
    const { reference } = await registry(always(200, bytes, type));
    expect(await client.manifest({ ...reference, digest: sha512 }, access)).toMatchObject({ digest: sha512 });
    const wrong: Digest = `sha512:${'1'.repeat(128)}`;
    expect(await failure(client.manifest({ ...reference, digest: wrong }, access))).toMatchObject({
      code: 'digest_mismatch',
    });
  });

  it('asks for every kind at once', async () => {
    const { reference, seen } = await registry(always(404));
    await client.resolve(reference, access);
    for (const kind of [oci.index, oci.manifest, docker.index, docker.manifest])
      expect(seen[0]?.headers.accept?.split(', ')).toContain(kind);
  });

  it.each([
    'application/vnd.docker.distribution.manifest.v1+prettyjws',
    'application/vnd.docker.distribution.manifest.v1+json',
  ])('calls %s unsupported, instead of missing', async (old) => {
    const { reference } = await registry(
      always(200, '{"schemaVersion":1}', { 'content-type': old, 'docker-content-digest': digest }),
    );
    for (const read of [client.resolve, client.manifest])
      expect(await failure(read(reference, access))).toMatchObject({ code: 'unsupported_manifest' });
  });

  it.each([oci.index, oci.manifest, docker.index, docker.manifest, `${oci.manifest}; charset=utf-8`])(
    'does not take %s for schema 1',
    async (kind) => {
      const { reference } = await registry(always(200, bytes, { 'content-type': kind }));
      expect(await client.resolve(reference, access)).toMatchObject({ mediaType: kind.split(';')[0] });
    },
  );

  it.each<[string, Answerer, string]>([
    ['a web page', always(200, '<html>', { 'content-type': 'text/html' }), 'text/html'],
    ['no media type', always(200, bytes), 'no media type'],
    ['more than 4 MiB', always(200, Buffer.alloc(4 * 1024 * 1024 + 1), type), '4194304'],
    ['what is not HTTP', (_, response) => void response.socket?.end('SSH-2.0-x\r\n'), 'HTTP'],
  ])('calls %s no registry', async (_, answerer, word) => {
    const { reference } = await registry(answerer);
    expect(await failure(client.manifest(reference, access))).toMatchObject({
      code: 'protocol',
      message: expect.stringContaining(word) as string,
    });
  });

  it('reads 4 MiB', async () => {
    const { reference } = await registry(always(200, Buffer.alloc(4 * 1024 * 1024), type));
    expect(await client.manifest(reference, access)).toMatchObject({ size: 4 * 1024 * 1024 });
  });

  it.each<[string, Answerer]>([
    ['before the answer', (_, response) => response.destroy()],
    [
      'within the body',
      (_, response) => {
        response.writeHead(200, { ...type, 'content-length': 1000 });
        response.write('half', () => response.destroy());
      },
    ],
  ])('calls a connection that is closed %s reset', async (_, answerer) => {
    const { reference } = await registry(answerer);
    expect(await failure(client.manifest(reference, access))).toMatchObject({
      code: 'reset',
      retryable: true,
    });
  });
});

describe('a refusal', () => {
  it.each<[number, string, unknown]>([
    [429, 'rate_limited', ''],
    [403, 'rate_limited', errors('TOOMANYREQUESTS', 'slow down')],
    [403, 'denied', errors('DENIED', 'requested access to the resource is denied')],
    [500, 'registry_unavailable', 'oops'],
    [503, 'registry_unavailable', errors('UNAVAILABLE', 'back soon')],
    [400, 'protocol', ''],
    [404, 'manifest_unknown', ''],
  ])('of %i is %s', async (status, code, body) => {
    const { host } = await registry(always(status, body));
    expect(await failure(client.ping(host, access))).toMatchObject({ code });
  });

  it('keeps the time to come back, in seconds or as a date', async () => {
    const after = async (value: string) => {
      const { host } = await registry(always(429, '', { 'retry-after': value }));
      return (await failure(client.ping(host, access)))?.retryAfter;
    };
    expect(await after('17')).toBe(17);
    expect(await after(new Date(Date.now() + 60_000).toUTCString())).toSatisfy(
      (seconds: number) => seconds > 55 && seconds <= 60,
    );
    expect(await after(new Date(Date.now() - 60_000).toUTCString())).toBe(0);
    expect(await after('soon')).toBeUndefined();
  });

  it('is told in the registry’s words, cut to one printable line without signed queries', async () => {
    const said = `no\n\u0007 https://store.example/x?sig=s3cr3t ${'x'.repeat(500)}`;
    const { host } = await registry(always(403, errors('DENIED', said)));
    const error = await failure(client.ping(host, access));
    expect(error?.message).toMatch(/DENIED: no +https:\/\/store.example\/x +x/);
    expect(error?.message).toMatch(/^[\x20-\x7e]{1,500}$/);
    expect(error?.message).not.toContain('s3cr3t');
  });

  // Each product's own words for a tag that may not be moved.
  it.each<[string, number, unknown]>([
    [
      'Amazon ECR',
      400,
      errors(
        'TAG_INVALID',
        "The image tag 'v1' already exists in the 'a' repository and cannot be overwritten because the repository is immutable.",
      ),
    ],
    [
      'Harbor',
      412,
      errors('PRECONDITION', "Failed to process request due to 'a:v1' configured as immutable."),
    ],
    [
      'Nexus',
      400,
      errors('BLOB_UPLOAD_INVALID', 'blob upload invalid', 'Repository does not allow updating assets: a'),
    ],
    ['a 403', 403, errors('DENIED', 'tag v1 cannot be overwritten')],
  ])('of a tag by %s is immutable_tag', async (_, status, body) => {
    const { host } = await registry(always(status, body));
    const put = client.putManifest({ registry: host, path: 'a' }, 'v1', manifest, access);
    expect(await failure(put)).toMatchObject({ code: 'immutable_tag', retryable: false });
  });

  const harbor =
    'adding 29.0 MiB of storage resource, which when updated to current usage of 152.4 MiB will exceed the configured upper limit of 10.0 MiB.';
  const google =
    "Quota exceeded for quota metric 'Requests per project per user' and limit 'Requests per project per user per minute per user' of service 'artifactregistry.googleapis.com'";
  it.each<[string, number, unknown, string, boolean]>([
    ['a quota of Harbor', 403, errors('DENIED', harbor), 'quota_exceeded', false],
    ['a quota of Harbor, with 412', 412, errors('PRECONDITION', harbor), 'quota_exceeded', false],
    [
      'a quota of Quay',
      403,
      errors('DENIED', 'Quota has been exceeded on namespace'),
      'quota_exceeded',
      false,
    ],
    [
      'a quota of GitLab',
      403,
      errors('DENIED', 'Your action has been rejected because the namespace storage limit has been reached.'),
      'quota_exceeded',
      false,
    ],
    [
      'a quota of DigitalOcean',
      403,
      errors('DENIED', 'registry contains 1 repositories, limit is 1'),
      'quota_exceeded',
      false,
    ],
    ['507', 507, '', 'quota_exceeded', false],
    [
      'requests at Google, which calls them a quota',
      429,
      errors('TOOMANYREQUESTS', google),
      'rate_limited',
      true,
    ],
    // Real answers of docker-registry 2.8.2 and of distribution v3 on a full tmpfs.
    [
      'a full disk, as docker-registry 2',
      500,
      '{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{"DriverName":"filesystem","Enclosed":{"Op":"write","Path":"/data/x","Err":28}}}]}',
      'registry_full',
      true,
    ],
    [
      'a full disk, as distribution v3',
      500,
      '{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":"filesystem: write /data/x.tmp: no space left on device"}]}',
      'registry_full',
      true,
    ],
  ])('to a push is told apart: %s', async (_, status, body, code, retryable) => {
    const { host } = await registry(always(status, body));
    const put = client.putManifest({ registry: host, path: 'a' }, 'v1', manifest, access);
    expect(await failure(put)).toMatchObject({ code, retryable });
  });

  it('tells a token without the scope from a wrong login, by the words of GHCR', async () => {
    const body = errors('DENIED', 'permission_denied: The token provided does not match expected scopes.');
    const { host } = await registry(always(403, body));
    const login = { username: 'somebody', password: 'something' };
    const loggedIn = client.putManifest({ registry: host, path: 'a' }, 'v1', manifest, {
      ...access,
      credential: login,
    });
    expect(await failure(loggedIn)).toMatchObject({ code: 'insufficient_scope', retryable: false });
  });

  it.each([
    [404, 'push_refused'],
    [400, 'push_refused'],
    [413, 'push_refused'],
    [403, 'denied'],
    [429, 'rate_limited'],
    [502, 'registry_unavailable'],
  ])('of %i to a push is %s', async (status, code) => {
    const { host } = await registry(always(status));
    const put = client.putManifest({ registry: host, path: 'a' }, 'v1', manifest, access);
    expect(await failure(put)).toMatchObject({ code });
  });

  it('is not tried a second time', async () => {
    const { host, seen } = await registry(always(503));
    await failure(client.ping(host, access));
    expect(seen.map(({ path }: Seen) => path)).toEqual(['/v2/']);
  });
});

it('accepts a push whose answer names no digest, and not one that names another', async () => {
  const put = async (headers: Record<string, string>) => {
    const { host } = await registry(always(201, '', headers));
    return failure(client.putManifest({ registry: host, path: 'a' }, 'v1', manifest, access));
  };
  expect(await put({})).toBeUndefined();
  expect(await put({ 'docker-content-digest': other })).toMatchObject({ code: 'digest_mismatch' });
});

describe('reading a blob', () => {
  it('calls a connection that breaks in the middle what it is', async () => {
    const { host } = await registry((_, response) => {
      response.writeHead(200, { 'content-length': '1000' });
      response.write('abc', () => response.destroy());
    });
    const read = async () => {
      let size = 0;
      for await (const chunk of await client.blob({ registry: host, path: 'a' }, digest, access))
        size += chunk.length;
      return size;
    };
    expect(await failure(read())).toMatchObject({ code: 'reset' });
  });
});

describe('asking what refers to a manifest', () => {
  const index = { 'content-type': oci.index };
  const entry = (n: number) => ({
    mediaType: oci.manifest,
    digest: `sha256:${String(n).repeat(64)}`,
    size: n,
  });
  const ask = (host: string) => client.referrers({ registry: host, path: 'a' }, digest, access);

  it('goes from page to page', async () => {
    const { host, seen } = await registry(({ path }, response) => {
      const page = Number(new URL(path, 'http://x').searchParams.get('page') ?? '1');
      const link = page < 3 && { link: `<?page=${page + 1}>; rel="next"` };
      return answer(response, 200, { manifests: [entry(page)] }, { ...index, ...link });
    });
    expect(await ask(host)).toEqual([entry(1), entry(2), entry(3)]);
    expect(seen).toHaveLength(3);
  });

  it('comes to an end where the pages do not', async () => {
    const { host } = await registry((_, response) =>
      answer(response, 200, { manifests: [] }, { ...index, link: '<?page=1>; rel="next"' }),
    );
    expect(await failure(ask(host))).toMatchObject({ code: 'protocol' });
  });

  it.each<[string, Answerer]>([
    ['404', always(404)],
    ['a page of a website', always(200, '<html>', { 'content-type': 'text/html' })],
    ['401 without a challenge', always(401)],
    ['403', always(403)],
    ['400', always(400)],
    ['a redirect to another host', always(303, '', { location: 'https://website.example/referrers' })],
  ])('takes %s for a registry that keeps no list', async (_, answerer) => {
    const { host } = await registry(answerer);
    expect(await ask(host)).toBeUndefined();
  });

  it.each([
    [429, 'rate_limited'],
    [503, 'registry_unavailable'],
  ])('does not take %i for that', async (status, code) => {
    const { host } = await registry(always(status));
    expect(await failure(ask(host))).toMatchObject({ code });
  });

  it('does not take a list that breaks off for a whole one', async () => {
    const { host } = await registry(({ path }, response) =>
      path.includes('page=2')
        ? answer(response, 404, '')
        : answer(response, 200, { manifests: [entry(1)] }, { ...index, link: '<?page=2>; rel="next"' }),
    );
    expect(await failure(ask(host))).toMatchObject({ code: 'protocol' });
  });
});
