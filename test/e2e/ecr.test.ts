import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startAws, type TestAws } from '../fixtures/aws.ts';
import { type EcrRegistry, startEcrRegistry } from '../fixtures/ecr-registry.ts';
import { platformsIndex, manifestOf, noiseLayer, push } from '../fixtures/image.ts';
import { type NameProxy, startNameProxy } from '../fixtures/name-proxy.ts';
import { fetchTree, sameTree } from '../fixtures/tree.ts';
import { createWorld, type World } from '../fixtures/world.ts';

let aws: TestAws;
let registry: EcrRegistry;
let proxy: NameProxy;
let folder: string;
let world: World;

// One is logged in to with the service's identity and a role, the other with keys in dray.yaml.
const ecr = (region: string) => `${aws.account}.dkr.ecr.${region}.amazonaws.com`;
const [byRole, byKeys] = ['eu-west-1', 'us-east-1'] as const;

beforeAll(async () => {
  aws = await startAws();
  registry = await startEcrRegistry(aws, [byRole, byKeys]);
  proxy = await startNameProxy({ [ecr(byRole)]: registry.place, [ecr(byKeys)]: registry.place });
  folder = await mkdtemp(join(tmpdir(), 'dray-ecr-'));
  await writeFile(join(folder, 'lifecycle.json'), '{"rules":[]}');
  world = await createWorld({
    settings: `
dockerConfig: false
logLevel: trace
copies: 10
registries:
  - {host: ${ecr(byRole)}, login: aws, role: "${aws.role.arn}", externalId: ${aws.role.externalId}, ca: ${registry.caFile}}
  - {host: ${ecr(byKeys)}, username: ${aws.user.accessKey}, password: {env: SECRET_KEY}, ca: ${registry.caFile}}
ecr:
  immutableTags: true
  scanOnPush: true
  lifecyclePolicy: ${join(folder, 'lifecycle.json')}
  tags: {team: cargo}
`,
    env: {
      ...aws.env,
      AWS_ACCESS_KEY_ID: aws.user.accessKey,
      AWS_SECRET_ACCESS_KEY: aws.user.secretKey,
      SECRET_KEY: aws.user.secretKey,
      HTTPS_PROXY: proxy.url,
    },
  });
});
afterAll(async () => {
  await world.stop();
  await Promise.all([registry.stop(), proxy.stop(), aws.stop()]);
  await rm(folder, { recursive: true });
});

const count = (action: string) => aws.calls().filter((call) => call.startsWith(`${action} `)).length;

it('makes a missing repository once for ten images that are asked for at once, as it is configured', async () => {
  const tags = Array.from({ length: 10 }, (_, n) => `v${n}`);
  for (const [n, tag] of tags.entries())
    await push(world.source.url, 'team/app', tag, manifestOf([noiseLayer(n, 2000)]));
  const answers = await Promise.all(
    tags.map((tag) => world.submit(`${world.source.host}/team/app:${tag}`, `${ecr(byRole)}/mirror`)),
  );
  for (const { status, body } of answers) expect(status, JSON.stringify(body)).toBe(200);
  for (const { body } of answers) {
    const end = await world.finished(body.requestId);
    expect(end, JSON.stringify(end)).toMatchObject({ succeeded: true });
  }
  const [name = '', ...others] = [...aws.repositories.keys()];
  expect(others).toEqual([]);
  const path = name.replace(`${aws.account}/${byRole}/`, '');
  expect(answers[0]?.body.targetImage).toBe(`${ecr(byRole)}/${path}:v0`);
  expect(aws.repositories.get(name)).toMatchObject({
    asked: {
      imageTagMutability: 'IMMUTABLE',
      imageScanningConfiguration: { scanOnPush: true },
      tags: [{ Key: 'team', Value: 'cargo' }],
    },
    lifecyclePolicy: '{"rules":[]}',
  });
  const counted = ['sts:AssumeRole', 'ecr:GetAuthorizationToken', 'ecr:CreateRepository'].map(count);
  expect(counted).toEqual([1, 1, 1]);
  for (const tag of tags) {
    const [there, here] = await Promise.all([
      fetchTree(world.source.url, 'team/app', tag),
      fetchTree(registry.url, path, tag),
    ]);
    expect(sameTree(there, here), tag).toBe(true);
  }
  // All of it went to the registry by its name.
  expect(new Set(proxy.seen)).toEqual(new Set([`${ecr(byRole)}:443`]));
});

it('takes AWS keys as user name and password, and copies from ECR as well as to it', async () => {
  await push(world.source.url, 'multi', '1', platformsIndex(77));
  const to = await world.submit(`${world.source.host}/multi:1`, ecr(byKeys));
  expect(to.status, JSON.stringify(to.body)).toBe(200);
  expect(await world.finished(to.body.requestId)).toMatchObject({ succeeded: true });
  const back = await world.submit(to.body.targetImage, `${world.target.host}/back`);
  expect(back.status, JSON.stringify(back.body)).toBe(200);
  expect(await world.finished(back.body.requestId)).toMatchObject({ succeeded: true });
  const [repository = '', tag = ''] = back.body.targetImage.replace(`${world.target.host}/`, '').split(':');
  const [there, here] = await Promise.all([
    fetchTree(world.source.url, 'multi', '1'),
    fetchTree(world.target.url, repository, tag),
  ]);
  expect(sameTree(there, here)).toBe(true);
});

it('says of a repository that it may not make which right it lacks, on the side of the target', async () => {
  await push(world.source.url, 'denied', '1', manifestOf([noiseLayer(50, 2000)]));
  aws.deny('ecr:CreateRepository');
  const { body } = await world.submit(`${world.source.host}/denied:1`, ecr(byRole));
  const end = await world.finished(body.requestId);
  aws.allow('ecr:CreateRepository');
  expect(end).toMatchObject({
    succeeded: false,
    reason: expect.stringMatching(/ecr:CreateRepository .*eu-west-1/) as string,
  });
  const record = await world.call<{ failure?: object }>(
    'GET',
    `/v1alpha1/mirrors/${body.buildId ?? ''}`,
    undefined,
    {
      authorization: `Bearer ${world.service.key}`,
    },
  );
  expect(JSON.stringify(record.body)).toContain('ecr:CreateRepository');
});

it('shows no key, password or session token to anybody', () => {
  const secrets = aws.secrets();
  expect(secrets.length).toBeGreaterThan(4);
  const output = world.service.output();
  expect(output).toContain('"mirror"');
  // Not the whole text in the message: it would be long, and hold the secret.
  expect(secrets.filter((secret) => output.includes(secret))).toEqual([]);
});
