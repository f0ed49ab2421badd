import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { manifestOf, noiseLayer, type Pushed, push } from '../fixtures/image.ts';
import { newSecret } from '../fixtures/secrets.ts';
import { type ContainerAnswer, type ContainerStatus, createWorld, type World } from '../fixtures/world.ts';

let world: World;
let image: Pushed;
let name: string;
const host = () => world.source.host;
beforeAll(async () => {
  world = await createWorld({ settings: 'submitBudget: 1\n' });
  image = await push(world.source.url, 'lib/app', '1', manifestOf([noiseLayer(1, 20_000)]));
  name = `${host()}/lib/app:1`;
});
afterAll(() => world.stop());

/** What Nextflow 26.08 sends for a plain mirror request: every field, most of them null. */
const nextflow = () => ({
  towerAccessToken: world.service.key,
  towerRefreshToken: null,
  towerWorkspaceId: 12345,
  towerEndpoint: 'https://api.tower.nf',
  workflowId: null,
  containerImage: name,
  containerFile: null,
  containerConfig: { env: null, workingDir: null, entrypoint: null, cmd: null, layers: null },
  condaFile: null,
  containerPlatform: 'linux/amd64',
  buildRepository: `${world.target.host}/nf/`,
  cacheRepository: null,
  timestamp: '2026-11-24T10:00:00.123456+01:00',
  fingerprint: '0123456789abcdef',
  freeze: false,
  format: null,
  dryRun: false,
  containerIncludes: [],
  packages: null,
  nameStrategy: null,
  mirror: true,
  scanMode: null,
  scanLevels: null,
  buildCompression: null,
  buildTemplate: null,
  somethingNew: { a: 1 },
});

describe('a mirror request', () => {
  it('of Nextflow is answered at once with the target, and its status ends DONE', async () => {
    const { status, body } = await world.call<ContainerAnswer>('POST', '/v1alpha2/container', nextflow());
    expect(status).toBe(200);
    expect(body).toEqual({
      requestId: expect.stringMatching(/^[0-9a-f]{43}$/) as string,
      targetImage: `${world.target.host}/nf/lib/app:1`,
      containerImage: `${world.target.host}/nf/lib/app:1`,
      buildId: expect.stringMatching(/^mr-[0-9a-f]{32}$/) as string,
      cached: false,
      freeze: false,
      mirror: true,
    });
    const end = await world.finished(body.requestId);
    expect(end).toEqual({
      id: body.requestId,
      status: 'DONE',
      mirrorId: body.buildId,
      buildId: null,
      scanId: null,
      vulnerabilities: null,
      succeeded: true,
      creationTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as string,
      duration: expect.stringMatching(/^\d+\.\d{9}$/) as string,
    });
    const again = await world.call<ContainerAnswer>('POST', '/v1alpha2/container', nextflow());
    expect(again.body).toMatchObject({ cached: true, succeeded: true, buildId: body.buildId });
    expect(again.body.requestId).not.toBe(body.requestId);
    expect(await world.finished(again.body.requestId)).toMatchObject({ succeeded: true });
  });

  it('of the Wave command line leaves out what it does not set, and its status call has no login', async () => {
    const { body } = await world.submit(name, `${world.target.host}/cli`, {
      timestamp: '2026-11-24T10:00:00Z',
    });
    const { status, body: seen } = await world.call<ContainerStatus>(
      'GET',
      `/v1alpha2/container/${body.requestId}/status`,
      undefined,
      { authorization: 'Bearer whatever' },
    );
    expect(status).toBe(200);
    expect(['BUILDING', 'DONE']).toContain(seen.status);
    expect('succeeded' in seen).toBe(seen.status === 'DONE');
    await world.finished(body.requestId);
  });

  it('that is a dry run tells whether the image is there, and starts nothing', async () => {
    const dry = { dryRun: true };
    const missing = await world.submit(name, `${world.target.host}/dry`, dry);
    expect(missing).toMatchObject({ status: 200, body: { cached: false, succeeded: true } });
    expect(missing.body).not.toHaveProperty('buildId');
    expect(await world.finished(missing.body.requestId)).toMatchObject({ succeeded: true, mirrorId: null });
    expect((await fetch(`${world.target.url}/v2/dry/lib/app/tags/list`)).status).toBe(404);
    const first = await world.submit(name, `${world.target.host}/dry2`);
    await world.finished(first.body.requestId);
    const there = await world.submit(name, `${world.target.host}/dry2`, dry);
    expect(there.body).toMatchObject({ cached: true, succeeded: true, buildId: first.body.buildId });
  });

  it('may have its key as a bearer token instead', async () => {
    const authorization = `Bearer ${world.service.key}`;
    const body = { mirror: true, containerImage: name, buildRepository: world.target.host, dryRun: true };
    expect((await world.call('POST', '/v1alpha2/container', body)).status).toBe(401);
    expect((await world.call('POST', '/v1alpha2/container', body, { authorization })).status).toBe(200);
  });
});

describe('a request that can not be served', () => {
  it.each([
    ['no mirror request', { mirror: undefined }, 400, 'not_a_mirror_request', '"mirror": true'],
    ['mirror: false', { mirror: false }, 400, 'not_a_mirror_request', ''],
    ['freeze', { freeze: true }, 400, 'invalid_request', '"mirror" and "freeze"'],
    ['containerFile', { containerFile: 'RlJPTSBh' }, 400, 'invalid_request', '"mirror" and "containerFile"'],
    ['containerConfig', { containerConfig: { env: ['A=1'] } }, 400, 'invalid_request', '"containerConfig"'],
    ['containerIncludes', { containerIncludes: ['a'] }, 400, 'invalid_request', '"containerIncludes"'],
    ['packages', { packages: { type: 'CONDA', entries: ['a'] } }, 400, 'invalid_request', '"packages"'],
    ['condaFile', { condaFile: 'YQ==' }, 400, 'invalid_request', '"condaFile"'],
    ['buildContext', { buildContext: { location: 'x' } }, 400, 'invalid_request', '"buildContext"'],
    ['scanMode', { scanMode: 'required' }, 400, 'invalid_request', 'scanner'],
    ['no image', { containerImage: undefined }, 400, 'invalid_request', '"containerImage"'],
    ['no target', { buildRepository: null }, 400, 'invalid_request', '"buildRepository"'],
    ['same registry', { buildRepository: 'SOURCE/x' }, 400, 'same_registry', 'another registry'],
    ['scheme on target', { buildRepository: 'http://quay.io' }, 400, 'invalid_request', 'scheme'],
    ['scheme on source', { containerImage: 'docker://ubuntu' }, 400, 'invalid_reference', 'scheme'],
    ['tag on target', { buildRepository: 'quay.io/a:1' }, 400, 'invalid_request', 'tag'],
    ['no such image', { containerImage: 'SOURCE/lib/none:1' }, 404, 'manifest_unknown', 'does not exist'],
    ['no such tag', { containerImage: 'SOURCE/lib/app:2' }, 404, 'manifest_unknown', 'does not exist'],
    ['closed port', { containerImage: 'localhost:1/a' }, 400, 'refused', 'nothing listens'],
    ['unknown host', { containerImage: 'registry.invalid/a' }, 400, 'dns', 'DNS'],
    ['closed target', { buildRepository: 'localhost:1' }, 400, 'refused', 'nothing listens'],
    ['wrong key', { towerAccessToken: newSecret('wrong key', 'dray_') }, 401, 'unauthenticated', 'no key'],
    ['no key', { towerAccessToken: undefined }, 401, 'unauthenticated', 'No access token'],
  ])('says what is wrong: %s', async (_, change, status, code, text) => {
    const filled = JSON.parse(JSON.stringify(change).replaceAll('SOURCE', host())) as Record<string, unknown>;
    const removed = Object.fromEntries(Object.keys(change).map((key) => [key, filled[key]]));
    const answer = await world.submit(name, world.target.host, removed);
    expect(answer).toMatchObject({ status, body: { code } });
    expect(answer.body.message).toContain(text);
    // Wave clients show nothing but the message: the remedy must be in it.
    expect(answer.body.message).toContain(answer.body.remedy);
  });

  it('does not count hulls and nulls as a conflict', async () => {
    const hulls = {
      containerConfig: { env: [], layers: null },
      packages: {},
      containerIncludes: [],
      freeze: null,
    };
    expect((await world.submit(name, world.target.host, { ...hulls, dryRun: true })).status).toBe(200);
  });

  it('to the old API is told where mirroring is', async () => {
    const answer = await world.call<ContainerAnswer>('POST', '/container-token', nextflow());
    expect(answer).toMatchObject({ status: 400, body: { code: 'not_a_mirror_request' } });
    expect(answer.body.message).toContain('/v1alpha2/container');
  });
});

describe('records', () => {
  it('tell a request without any secret', async () => {
    const { body } = await world.submit(name, `${world.target.host}/rec`);
    const { body: record } = await world.call('GET', `/v1alpha2/container/${body.requestId}`);
    expect(record).toEqual({
      requestId: body.requestId,
      containerImage: name,
      targetImage: body.targetImage,
      creationTime: expect.any(String) as string,
      mirrorId: body.buildId,
      digest: image.digest,
    });
    await world.finished(body.requestId);
  });

  it('tell a mirror to everyone, and its log to its own callers and administrators only', async () => {
    const admin = { authorization: `Bearer ${world.service.key}` };
    const key = async (user: string) =>
      (await world.call<{ key: string }>('POST', '/v1/keys', { name: user }, admin)).body.key;
    const [ann, bob] = [await key('ann'), await key('bob')];
    const to = `${world.target.host}/owned`;
    const { body } = await world.submit(name, to, { towerAccessToken: ann });
    await world.finished(body.requestId);
    const path = `/v1alpha1/mirrors/${body.buildId}`;
    const open = await world.call('GET', path);
    expect(open.body).toEqual({
      mirrorId: body.buildId,
      digest: image.digest,
      sourceImage: name,
      targetImage: `${to}/lib/app:1`,
      platform: null,
      creationTime: expect.any(String) as string,
      status: 'COMPLETED',
      duration: expect.stringMatching(/^\d+\.\d+$/) as string,
      exitCode: 0,
    });
    const as = (who: string) => ({ authorization: `Bearer ${who}` });
    expect((await world.call('GET', path, undefined, as(bob))).body).not.toHaveProperty('logs');
    expect((await world.call('GET', path, undefined, as(ann))).body).toHaveProperty('logs');
    expect((await world.call('GET', `${path}/logs`)).status).toBe(401);
    expect((await world.call('GET', `${path}/logs`, undefined, as(bob))).status).toBe(403);
    const log = await world.call<string>('GET', `${path}/logs`, undefined, as(ann));
    expect(log.headers.get('content-disposition')).toBe(`attachment; filename=${body.buildId}.log`);
    expect(log.body).toContain('Copying blob');
    expect((await world.call('GET', `${path}/logs`, undefined, admin)).body).toBe(log.body);
    const listed = async (who: string) =>
      (await world.call<{ mirrors: { id: string }[] }>('GET', '/v1/mirrors', undefined, as(who))).body
        .mirrors;
    expect((await listed(ann)).map(({ id }) => id)).toEqual([body.buildId]);
    expect(await listed(bob)).toEqual([]);
    expect((await listed(world.service.key)).length).toBeGreaterThan(1);
  });

  it('of unknown ids are 404, never 401 or 500', async () => {
    const as = { authorization: `Bearer ${world.service.key}` };
    for (const path of [
      '/v1alpha2/container/x/status',
      '/v1alpha2/container/x',
      '/v1alpha1/mirrors/mr-x',
      '/v1alpha1/mirrors/mr-x/logs',
      '/v1/mirrors/%00',
      '/v1alpha2/container/%00/status',
      '/view/mirrors/mr-x',
      '/view/containers/%F0%9F%98%80',
      '/nowhere',
    ])
      expect([path, (await world.call('GET', path, undefined, as)).status]).toEqual([path, 404]);
  });
});

it('tells its version, its API and a page about it', async () => {
  const { body: info } = await world.call('GET', '/service-info');
  expect(info).toEqual({ serviceInfo: { version: '0.1.0', commitId: expect.any(String) as string } });
  const { body: document } = await world.call<{ openapi: string; paths: object }>('GET', '/openapi.json');
  expect(document.openapi).toMatch(/^3\.1/);
  expect(Object.keys(document.paths)).toEqual(
    expect.arrayContaining([
      '/v1alpha2/container',
      '/v1alpha2/container/{id}/status',
      '/v1/mirrors',
      '/v1/keys',
    ]),
  );
  const page = await world.call<string>('GET', '/docs');
  expect(page.status).toBe(200);
  expect(page.body).toContain('swagger');
});
