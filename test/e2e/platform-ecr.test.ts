import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { startAws, type TestAws } from '../fixtures/aws.ts';
import { type EcrRegistry, startEcrRegistry } from '../fixtures/ecr-registry.ts';
import { manifestOf, noiseLayer, push } from '../fixtures/image.ts';
import { type NameProxy, startNameProxy } from '../fixtures/name-proxy.ts';
import { createPlatformWorld, platformUser, type PlatformWorld } from '../fixtures/platform-world.ts';

// One host for each way in which a caller of Seqera Platform gets into Amazon ECR.
const regions = ['eu-west-1', 'eu-west-2', 'eu-west-3'] as const;
const [byKeys, byRole, byLaunch] = regions;
const ann = platformUser(1, 'ann', [10]);
const bob = platformUser(2, 'bob', [20]);

let aws: TestAws;
let registry: EcrRegistry;
let proxy: NameProxy;
let world: PlatformWorld;
let images = 0;

const host = (region: string) => `${aws.account}.dkr.ecr.${region}.amazonaws.com`;

beforeAll(async () => {
  aws = await startAws();
  registry = await startEcrRegistry(aws, [...regions]);
  proxy = await startNameProxy(
    Object.fromEntries(regions.map((region) => [host(region), registry.place] as const)),
  );
  world = await createPlatformWorld({
    users: [ann, bob],
    accounts: [],
    // The CA of this test's registry; the entries bring no login.
    settings: () =>
      `dockerConfig: false\nregistries:\n${regions.map((region) => `  - {host: ${host(region)}, ca: ${registry.caFile}}\n`).join('')}`,
    env: {
      ...aws.env,
      HTTPS_PROXY: proxy.url,
      // The service's own identity: it may assume the role, and is given to nobody.
      AWS_ACCESS_KEY_ID: aws.user.accessKey,
      AWS_SECRET_ACCESS_KEY: aws.user.secretKey,
    },
  });
  const { accessKey, secretKey } = aws.user;
  world.platform.credentials.push(
    {
      ...{ id: 'keys', provider: 'container-reg', registry: host(byKeys), workspaceId: 10 },
      keys: { userName: accessKey, password: secretKey },
    },
    {
      ...{ id: 'role', provider: 'container-reg', registry: host(byRole), workspaceId: 10 },
      keys: { userName: aws.role.arn, password: aws.role.externalId },
    },
    { ...{ id: 'launch', provider: 'aws', workspaceId: 10 }, keys: { accessKey, secretKey } },
    // Of another workspace, which knows the role's name and not its external id.
    {
      ...{ id: 'thief', provider: 'container-reg', registry: host(byRole), workspaceId: 20 },
      keys: { userName: aws.role.arn, password: '' },
    },
  );
  world.platform.launches.push({
    ...{ workflowId: 'run1', workspaceId: 10 },
    computeEnv: { platform: 'aws-batch', credentialsId: 'launch' },
  });
});
afterAll(async () => {
  await world.stop();
  await Promise.all([registry.stop(), proxy.stop(), aws.stop()]);
});
beforeEach(async () => {
  await push(world.source.url, `image-${++images}`, '1', manifestOf([noiseLayer(images, 2000)]));
});

const ask = (region: string, user = ann, more: Record<string, unknown> = {}) =>
  world.submit(`${world.source.host}/image-${images}:1`, host(region), {
    ...{ towerAccessToken: user.accessToken, towerEndpoint: world.platform.endpoint },
    ...{ towerWorkspaceId: user.workspaces?.[0], ...more },
  });

it.each([
  ['AWS keys as user name and password', byKeys, {}],
  ["a role's ARN and its external id", byRole, {}],
  ['what launched the run', byLaunch, { workflowId: 'run1' }],
])('logs in to ECR with %s, and makes the repository', async (_, region, more) => {
  const { status, body } = await ask(region, ann, more);
  expect([status, body.message]).toEqual([200, undefined]);
  expect(await world.finished(body.requestId)).toMatchObject({ succeeded: true });
  const [repository] = [...aws.repositories.values()].filter(({ registry: of }) => of.endsWith(region));
  expect(repository?.name).toBe(`image-${images}`);
});

it('asks for a credential where nothing launched the run', async () => {
  const { status, body } = await ask(byLaunch);
  expect([status, body.code, body.side]).toEqual([400, 'login_required', 'target']);
  expect(body.remedy).toContain(`Add a container registry credential for ${host(byLaunch)} to workspace 10`);
});

it('assumes no role without an external id', async () => {
  const before = aws.calls().length;
  const { status, body } = await ask(byRole, bob);
  expect([status, body.code, body.side]).toEqual([400, 'credentials_rejected', 'target']);
  expect(body.message).toContain('without an external id');
  expect(aws.calls()).toHaveLength(before);
});

it('lends nobody the identity that the service runs under', async () => {
  const before = aws.calls().length;
  const { status, body } = await ask(byKeys, bob);
  expect([status, body.code, body.side]).toEqual([400, 'login_required', 'target']);
  expect(aws.calls()).toHaveLength(before);
});
