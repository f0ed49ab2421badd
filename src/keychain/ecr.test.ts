import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { describeKeychain } from '../../test/conformance/keychain.ts';
import { startAws, type TestAws } from '../../test/fixtures/aws.ts';
import { startNameProxy } from '../../test/fixtures/name-proxy.ts';
import { freePort, makeCertificate } from '../../test/fixtures/registry.ts';
import { answer, startStandIn } from '../../test/fixtures/stand-in.ts';
import { MirrorError } from '../core/errors.ts';
import { isLoopback } from '../core/reference.ts';
import { allowAll } from '../lib/address.ts';
import { createDispatchers } from '../lib/http.ts';
import { settings } from '../settings.ts';
import { awsKeysOf, createEcr, createEcrKeychain, type Ecr, ecrHost } from './ecr.ts';
import type { AwsIdentity } from './aws.ts';

const host = '123456789012.dkr.ecr.eu-west-1.amazonaws.com';
const repository = { registry: host, path: 'team/app' };
const { signal } = new AbortController();
const dispatchers = createDispatchers({ hosts: new Map(), proxy: {}, policy: allowAll, isLocal: isLoopback });

let aws: TestAws;
let ecr: Ecr;
let mine: AwsIdentity;

const create = (ecrSettings: object = {}, reservedRoles: string[] = []) =>
  createEcr({ settings: settings.parse({ ecr: ecrSettings }).ecr, dispatchers, reservedRoles });

/** The environment that the SDK finds its endpoints and the ambient identity in. */
function ambient(variables: Record<string, string>): void {
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
}

beforeEach(async () => {
  aws = await startAws();
  ambient({ ...aws.env, AWS_EC2_METADATA_DISABLED: 'true', HOME: tmpdir() });
  ecr = create();
  mine = { keys: aws.user };
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await aws.stop();
});

/** What it is refused with, nothing secret in it. */
async function refusal(work: Promise<unknown>): Promise<MirrorError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(MirrorError);
  const { message, remedy, cause } = error as MirrorError;
  const told = [message, remedy, String(cause), JSON.stringify(cause)].join();
  expect([...aws.secrets(), aws.user.accessKey].filter((secret) => told.includes(secret))).toEqual([]);
  return error as MirrorError;
}

describe('ecrHost', () => {
  it.each([
    [host, { account: '123456789012', region: 'eu-west-1', public: false, fips: false }],
    [
      '123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com',
      { account: '123456789012', region: 'us-gov-west-1', public: false, fips: true },
    ],
    [
      '123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn',
      { account: '123456789012', region: 'cn-north-1', public: false, fips: false },
    ],
    [
      '123456789012.dkr-ecr.eu-west-1.on.aws',
      { account: '123456789012', region: 'eu-west-1', public: false, fips: false },
    ],
    ['public.ecr.aws', { region: 'us-east-1', public: true, fips: false }],
  ])('reads %s', (name, expected) => expect(ecrHost(name)).toEqual(expected));

  it.each([
    'quay.io',
    'ecr.aws',
    'evil.public.ecr.aws',
    '12345678901.dkr.ecr.eu-west-1.amazonaws.com',
    '123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example',
    '123456789012.dkr.ecr.eu-west-1.amazonaws.com:444',
    '123456789012.dkr.ecr.evil.example.amazonaws.com',
    'x.123456789012.dkr.ecr.eu-west-1.amazonaws.com',
  ])('says of %s that it is none', (name) => expect(ecrHost(name)).toBeUndefined());
});

describe('what stands for an AWS credential on an ECR host', () => {
  it('is an access key, a role, or a login as it is', () => {
    expect(awsKeysOf('AKIA1', 's')).toEqual({ accessKey: 'AKIA1', secretKey: 's' });
    expect(awsKeysOf('arn:aws:iam::123456789012:role/x', 'id')).toEqual({
      assumeRoleArn: 'arn:aws:iam::123456789012:role/x',
      externalId: 'id',
    });
    expect(awsKeysOf('AWS', 'token')).toBeUndefined();
  });
});

describe('a login', () => {
  it('is got with keys in the region of the host, once for all who ask, and kept', async () => {
    const release = aws.hold('ecr:GetAuthorizationToken');
    const asked = [1, 2, 3].map(() => ecr.login(mine, host, signal));
    release();
    const [first, ...others] = await Promise.all(asked);
    expect(first).toMatchObject({ username: 'AWS' });
    expect(first && 'password' in first && aws.knowsPassword(first.password)).toBe(true);
    expect(others).toEqual([first, first]);
    expect(await ecr.login(mine, host, signal)).toBe(first);
    expect(aws.calls()).toEqual(['ecr:GetAuthorizationToken eu-west-1']);
  });

  it('is for one host and one identity', async () => {
    const other = '123456789012.dkr.ecr.us-east-2.amazonaws.com';
    await ecr.login(mine, host, signal);
    await ecr.login(mine, other, signal);
    await refusal(ecr.login({ keys: { ...aws.user, secretKey: 'other' } }, host, signal));
    expect(aws.calls()).toEqual([
      'ecr:GetAuthorizationToken eu-west-1',
      'ecr:GetAuthorizationToken us-east-2',
    ]);
  });

  it('is renewed when a tenth of its life is left', async () => {
    await aws.stop();
    aws = await startAws({ life: 1000 });
    ambient(aws.env);
    vi.useFakeTimers({ toFake: ['performance'] });
    try {
      const ask = () => ecr.login({ keys: aws.user }, host, signal);
      const first = await ask();
      vi.advanceTimersByTime(890_000);
      expect(await ask()).toBe(first);
      vi.advanceTimersByTime(20_000);
      expect(await ask()).not.toEqual(first);
    } finally {
      vi.useRealTimers();
    }
  });

  it('of ECR Public comes from us-east-1', async () => {
    expect(await ecr.login(mine, 'public.ecr.aws', signal)).toMatchObject({ username: 'AWS' });
    expect(aws.calls()).toEqual(['ecr-public:GetAuthorizationToken us-east-1']);
  });

  it('is got with the identity that the service runs under, and with a role that it assumes', async () => {
    ambient({ AWS_ACCESS_KEY_ID: aws.user.accessKey, AWS_SECRET_ACCESS_KEY: aws.user.secretKey });
    await ecr.login({}, host, signal);
    expect(aws.calls()).toEqual(['ecr:GetAuthorizationToken eu-west-1']);
    await ecr.login({ role: aws.role }, host, signal);
    await ecr.prepare({ role: aws.role }, repository, signal);
    expect(aws.calls().filter((call) => call.startsWith('sts'))).toEqual(['sts:AssumeRole eu-west-1']);
  });

  it("of a caller's role needs the service's identity and the caller's external id", async () => {
    ambient({ AWS_ACCESS_KEY_ID: aws.user.accessKey, AWS_SECRET_ACCESS_KEY: aws.user.secretKey });
    const { arn: assumeRoleArn, externalId } = aws.role;
    const identity = ecr.identityOf({ assumeRoleArn, externalId }, host);
    expect(await ecr.login(identity, host, signal)).toMatchObject({ username: 'AWS' });
    const guessed = ecr.identityOf({ assumeRoleArn, externalId: 'guessed' }, host);
    expect(await refusal(ecr.login(guessed, host, signal))).toMatchObject({
      code: 'denied',
      message: expect.stringContaining('sts:AssumeRole') as string,
    });
  });

  it("of a caller's role can be got with the caller's own keys", async () => {
    const { arn: assumeRoleArn, externalId } = aws.role;
    const identity = ecr.identityOf({ ...aws.user, assumeRoleArn, externalId }, host);
    expect(await ecr.login(identity, host, signal)).toMatchObject({ username: 'AWS' });
    expect(aws.calls()).toEqual(['sts:AssumeRole eu-west-1', 'ecr:GetAuthorizationToken eu-west-1']);
  });
});

it("AWS is reached by its own names, through the operator's proxy, with the CAs of the configuration", async () => {
  const folder = await mkdtemp(join(tmpdir(), 'dray-ecr-'));
  const names = ['sts.eu-west-1', 'api.ecr.eu-west-1', 'api.ecr-public.us-east-1'].map(
    (name) => `${name}.amazonaws.com`,
  );
  const tls = makeCertificate(
    folder,
    names.map((name) => `DNS:${name}`),
  );
  const behind = await startAws({ tls });
  const proxy = await startNameProxy(
    Object.fromEntries(names.map((name) => [name, new URL(behind.url).host])),
  );
  const proxied = createDispatchers({
    hosts: new Map(names.map((name) => [name, { ca: tls.ca }])),
    policy: allowAll,
    proxy: { https: proxy.url },
    isLocal: isLoopback,
  });
  for (const name of Object.keys(aws.env)) vi.stubEnv(name, undefined);
  const own = createEcr({ settings: settings.parse({}).ecr, dispatchers: proxied });
  const identity = { keys: behind.user, role: behind.role };
  expect(await own.login(identity, host, signal)).toMatchObject({ username: 'AWS' });
  expect(await own.login({ keys: behind.user }, 'public.ecr.aws', signal)).toMatchObject({ username: 'AWS' });
  expect(proxy.seen).toEqual(names.map((name) => `${name}:443`));
  await Promise.all([proxied.close(), proxy.stop(), behind.stop()]);
  await rm(folder, { recursive: true });
});

describe('a credential of a caller', () => {
  const arn = 'arn:aws:iam::123456789012:role/ours';
  it.each([
    ['a role without an external id', { assumeRoleArn: arn }, 'external id'],
    ['a role that is kept for others', { assumeRoleArn: arn, externalId: 'known' }, 'not for its callers'],
    ['what is no role', { assumeRoleArn: 'arn:aws:iam::1:user/x', externalId: 'x' }, 'no role'],
    ['half a key', { accessKey: 'AKIA1' }, 'one of access key and secret key'],
    ['nothing', {}, 'neither keys nor a role'],
  ])('that has %s is refused', (_, given, why) => {
    const work = () => create({}, [arn]).identityOf(given, host);
    expect(work).toThrow(why);
    expect(work).toThrow(expect.objectContaining({ code: 'credentials_rejected' }) as Error);
  });
});

describe('a refusal of AWS', () => {
  it.each([
    ['an unknown key', { accessKey: 'AKIAUNKNOWN' }, 'credentials_rejected'],
    ['a wrong secret', { secretKey: 'wrong' }, 'credentials_rejected'],
  ])('for %s says so', async (_, wrong, code) => {
    expect(await refusal(ecr.login({ keys: { ...aws.user, ...wrong } }, host, signal))).toMatchObject({
      code,
    });
  });

  it('for lack of any identity says so', async () => {
    expect(await refusal(ecr.login({}, host, signal))).toMatchObject({
      code: 'credentials_rejected',
      message: expect.stringContaining('no AWS identity') as string,
    });
  });

  it.each([
    ['ExpiredTokenException', { code: 'credentials_rejected', retryable: false }],
    ['AccessDeniedException', { code: 'denied', retryable: false }],
    ['ThrottlingException', { code: 'rate_limited', retryable: true }],
    ['ServerException', { code: 'registry_unavailable', retryable: true }],
    ['InvalidParameterException', { code: 'push_refused', retryable: false }],
  ])('by %s is told as what it is, and not kept', async (error, expected) => {
    aws.fail('ecr:GetAuthorizationToken', error, 2);
    const told = await refusal(ecr.login(mine, host, signal));
    expect(told).toMatchObject(expected);
    expect(told.message).toContain(host);
    // The SDK has tried once more by itself where that makes sense; if not, the second fault is still there.
    await ecr.login(mine, host, signal).catch(() => undefined);
    expect(await ecr.login(mine, host, signal)).toMatchObject({ username: 'AWS' });
  });

  it('that never comes ends with the time that the caller has', async () => {
    const release = aws.hold('ecr:GetAuthorizationToken');
    const leaving = new AbortController();
    const asked = ecr.login(mine, host, leaving.signal);
    leaving.abort();
    expect(await refusal(asked)).toMatchObject({ code: 'timeout', retryable: true });
    release();
    expect(await ecr.login(mine, host, signal)).toMatchObject({ username: 'AWS' });
  });

  it('is not what the page of a proxy in between is taken for', async () => {
    const page = await startStandIn((_, response) => answer(response, 200, '<html>Log in first</html>'));
    ambient({ AWS_ENDPOINT_URL_ECR: page.url });
    expect(await refusal(ecr.login(mine, host, signal))).toMatchObject({ code: 'protocol' });
    await page.stop();
  });

  it('is not what a dead connection is taken for', async () => {
    ambient({ AWS_ENDPOINT_URL_ECR: `http://127.0.0.1:${await freePort()}` });
    const told = await refusal(ecr.login(mine, host, signal));
    expect(told).toMatchObject({ code: 'registry_unavailable', retryable: true });
  });
});

describe('a repository', () => {
  const named = 'team/app';
  const at = '123456789012/eu-west-1/team/app';
  const created = () => aws.calls().filter((call) => call.startsWith('ecr:CreateRepository')).length;

  it('is made once, however many ask, as the settings want it', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'dray-ecr-'));
    const lifecyclePolicy = join(folder, 'policy.json');
    await writeFile(lifecyclePolicy, '{"rules":[]}');
    const strict = create({
      immutableTags: true,
      scanOnPush: true,
      lifecyclePolicy,
      tags: { team: 'cargo' },
    });
    await Promise.all(Array.from({ length: 10 }, () => strict.prepare(mine, repository, signal)));
    await strict.prepare(mine, repository, signal);
    expect(aws.repositories.get(at)).toEqual({
      registry: '123456789012/eu-west-1',
      name: named,
      asked: {
        registryId: '123456789012',
        repositoryName: named,
        imageTagMutability: 'IMMUTABLE',
        imageScanningConfiguration: { scanOnPush: true },
        tags: [{ Key: 'team', Value: 'cargo' }],
      },
      lifecyclePolicy: '{"rules":[]}',
    });
    expect(aws.calls().map((call) => call.replace(/ .*/, ''))).toEqual([
      'ecr:DescribeRepositories',
      'ecr:CreateRepository',
      'ecr:PutLifecyclePolicy',
    ]);
    await rm(folder, { recursive: true });
  });

  it('that is there is left as it is', async () => {
    await ecr.prepare(mine, repository, signal);
    await create({ immutableTags: true }).prepare(mine, repository, signal);
    expect(created()).toBe(1);
    expect(aws.repositories.get(at)?.asked).toMatchObject({ imageTagMutability: 'MUTABLE' });
  });

  it('that somebody else makes in the same moment is as good', async () => {
    aws.fail('ecr:CreateRepository', 'RepositoryAlreadyExistsException');
    await ecr.prepare(mine, repository, signal);
    expect(created()).toBe(1);
  });

  it('gets its lifecycle policy later when that fails at first', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'dray-ecr-'));
    const lifecyclePolicy = join(folder, 'policy.json');
    await writeFile(lifecyclePolicy, '{"rules":[]}');
    const own = create({ lifecyclePolicy });
    aws.fail('ecr:PutLifecyclePolicy', 'ThrottlingException', 2);
    expect(await refusal(own.prepare(mine, repository, signal))).toMatchObject({ code: 'rate_limited' });
    await own.prepare(mine, repository, signal);
    expect(aws.repositories.get(at)?.lifecyclePolicy).toBe('{"rules":[]}');
    await rm(folder, { recursive: true });
  });

  it('is not made when the settings say so', async () => {
    const own = create({ create: false });
    expect(await refusal(own.prepare(mine, repository, signal))).toMatchObject({
      code: 'push_refused',
      message: expect.stringContaining(`${host}/team/app`) as string,
      remedy: expect.stringContaining('ecr.create') as string,
    });
    expect(created()).toBe(0);
    await ecr.prepare(mine, repository, signal);
    await own.prepare(mine, repository, signal);
  });

  it('that may not be made names the action, account and region', async () => {
    aws.deny('ecr:CreateRepository');
    const error = await refusal(ecr.prepare(mine, repository, signal));
    expect(error).toMatchObject({ code: 'denied' });
    for (const part of ['ecr:CreateRepository', '123456789012', 'eu-west-1', named])
      expect(error.message).toContain(part);
    expect(error.remedy).toContain('ecr:CreateRepository');
    aws.allow('ecr:CreateRepository');
    await ecr.prepare(mine, repository, signal);
  });

  it('is found by who may push but not describe', async () => {
    await ecr.prepare(mine, repository, signal);
    aws.deny('ecr:DescribeRepositories');
    aws.deny('ecr:CreateRepository');
    await create().prepare(mine, repository, signal);
    expect(await refusal(create().prepare(mine, { ...repository, path: 'other' }, signal))).toMatchObject({
      code: 'denied',
      message: expect.stringContaining('ecr:CreateRepository') as string,
    });
  });

  it('on ECR Public is made by its name without the alias', async () => {
    await ecr.prepare(mine, { registry: 'public.ecr.aws', path: 'a1b2c3/team/app' }, signal);
    expect(aws.repositories.get('public/team/app')?.asked).toEqual({ repositoryName: 'team/app' });
  });
});

describe('entries of dray.yaml', () => {
  const username = () => aws.user.accessKey;
  const passwords = () => new Map([[host, aws.user.secretKey]]);
  const entries = () => [{ host, username: username() }];

  describeKeychain('ECR', async () => createEcrKeychain(ecr, entries(), passwords()), {
    [host]: { username: 'AWS', password: expect.stringMatching(/^pw-/) as string },
  });

  it('that are a login of the user AWS are left to be used as they are', async () => {
    const keychain = createEcrKeychain(ecr, [{ host, username: 'AWS' }], new Map([[host, 'x']]));
    expect(await keychain.resolve(repository, signal)).toBeUndefined();
    expect(await keychain.prepare?.(repository, signal)).toBe(false);
  });

  it('prepare repositories on their own hosts only', async () => {
    const keychain = createEcrKeychain(ecr, entries(), passwords());
    expect(await keychain.prepare?.({ registry: 'quay.io', path: 'a' }, signal)).toBe(false);
    expect(await keychain.prepare?.(repository, signal)).toBe(true);
    expect([...aws.repositories.keys()]).toEqual(['123456789012/eu-west-1/team/app']);
  });
});
