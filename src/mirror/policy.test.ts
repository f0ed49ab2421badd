import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newSigner, pushCosignSignature } from '../../test/fixtures/cosign.ts';
import {
  attestationOf,
  content,
  indexOf,
  type Manifest,
  manifestOf,
  noiseLayer,
  push,
} from '../../test/fixtures/image.ts';
import { startRegistry, type TestRegistry } from '../../test/fixtures/registry.ts';
import type { Digest } from '../core/digest.ts';
import { parseReference } from '../core/reference.ts';
import { everything, type Selection } from '../core/selection.ts';
import type { Keychain } from '../keychain/keychain.ts';
import { allowAll } from '../lib/address.ts';
import { readPublicKeys } from '../lib/signed.ts';
import { createRegistry } from '../registry/client.ts';
import type { Registry } from '../registry/registry.ts';
import type { Plan } from './plan.ts';
import { createPolicy, enforce, type Rule } from './policy.ts';
import { deadlineIn } from './retry.ts';

const none: Keychain = { resolve: () => Promise.resolve(undefined) };
const digestA: Digest = `sha256:${'a'.repeat(64)}`;
const digestB: Digest = `sha256:${'b'.repeat(64)}`;
const unreadable = {} as Registry;

const route = (image: string, target: string) => ({
  source: parseReference(image),
  target: parseReference(target),
});

/** The names of the rules that refuse a request for its names, and of those that let it pass. */
function named(rules: Omit<Rule, 'name'>[], image: string, target: string, tenant = 'key:a'): string {
  const policy = createPolicy(
    rules.map((rule, n) => ({ name: `rule${n}`, ...rule })),
    unreadable,
  );
  return policy
    .judgeNames(route(image, target), tenant)
    .map(({ rule, passed }) => `${passed ? '+' : '-'}${rule}`)
    .join(' ');
}

describe('a rule about names', () => {
  it.each<[Omit<Rule, 'name'>, string, string, string]>([
    [{ deny: true }, 'ubuntu', 'quay.io/a', '-rule0'],
    [{ deny: true, sources: ['docker.io/**'] }, 'ubuntu', 'quay.io/a', '-rule0'],
    [{ deny: true, sources: ['docker.io/**'] }, 'ghcr.io/a/b', 'quay.io/a', ''],
    [{ deny: true, sources: ['**:latest'] }, 'ubuntu', 'quay.io/a', '-rule0'],
    [{ deny: true, sources: ['**:latest'] }, `ubuntu@${digestA}`, `quay.io/a@${digestA}`, ''],
    [{ deny: true, targets: ['quay.io/prod/**'] }, 'ubuntu', 'quay.io/prod/library/ubuntu', '-rule0'],
    [{ deny: true, targets: ['quay.io/prod/**'] }, 'ubuntu', 'quay.io/dev/library/ubuntu', ''],
    // Other ways to write the same host.
    [{ deny: true, sources: ['docker.io/**'] }, 'registry-1.docker.io:443/acme/app', 'quay.io/a', '-rule0'],
    [{ deny: true, targets: ['quay.io/prod/**'] }, 'ubuntu', 'QUAY.io:443/prod/a', '-rule0'],
    [{ deny: true, targets: ['quay.io/prod/**'] }, 'ubuntu', 'quay.io:00443/prod/a', '-rule0'],
    [{ deny: true, targets: ['localhost:5000/**'] }, 'ubuntu', 'localhost:05000/a', '-rule0'],
    [{ deny: true, targets: ['127.0.0.1:5000/**'] }, 'ubuntu', '127.1:5000/a', '-rule0'],
    [{ deny: true, targets: ['[::1]:5000/**'] }, 'ubuntu', '[0:0:0:0:0:0:0:1]:5000/a', '-rule0'],
    [{ deny: true, tenants: ['key:a'] }, 'ubuntu', 'quay.io/a', '-rule0'],
    [{ deny: true, tenants: ['key:b'] }, 'ubuntu', 'quay.io/a', ''],
    [{ deny: true, tenants: ['key:*', 'local'] }, 'ubuntu', 'quay.io/a', '-rule0'],
    [{ allowSources: ['docker.io/library/*'] }, 'ubuntu', 'quay.io/a', '+rule0'],
    [{ allowSources: ['docker.io/library/*'] }, 'acme/ubuntu', 'quay.io/a', '-rule0'],
    [{ allowSources: ['quay.io/a/**:v*'] }, `quay.io/a/b@${digestA}`, 'ghcr.io/a', '-rule0'],
    [{ allowSources: ['**:*'] }, `quay.io/a/b@${digestA}`, 'ghcr.io/a', '-rule0'],
    [{ allowTargets: ['quay.io/acme/**'] }, 'ubuntu', 'quay.io/acme/library/ubuntu', '+rule0'],
    [{ allowTargets: ['quay.io/acme/**'] }, 'ubuntu', 'quay.io/other/ubuntu', '-rule0'],
    [{ maxSize: 1, minAge: 1, keys: [], signedBy: ['a.pub'] }, 'ubuntu', 'quay.io/a', ''],
  ])('%j and %s to %s: %s', (rule, image, target, verdicts) => {
    expect(named([rule], image, target)).toBe(verdicts);
  });

  it('takes * in a tenant for any characters, also those of a URL', () => {
    const tenant = 'https://api.cloud.seqera.io#workspace:12';
    for (const pattern of ['*', '*#workspace:12', 'https://*', '**', tenant])
      expect([pattern, named([{ deny: true, tenants: [pattern] }], 'ubuntu', 'quay.io/a', tenant)]).toEqual([
        pattern,
        '-rule0',
      ]);
    expect(named([{ deny: true, tenants: ['*#workspace:1'] }], 'ubuntu', 'quay.io/a', tenant)).toBe('');
  });

  it('must hold beside every other', () => {
    const rules = [
      { allowSources: ['docker.io/**'] },
      { deny: true as const, sources: ['docker.io/acme/*'] },
    ];
    expect(named(rules, 'acme/app', 'quay.io/a')).toBe('+rule0 -rule1');
    expect(named(rules, 'ubuntu', 'quay.io/a')).toBe('+rule0');
  });

  it('is named by its refusal, with the side that it is about', () => {
    const policy = createPolicy([{ name: 'only ours', allowTargets: ['quay.io/acme/**'] }], unreadable);
    const verdicts = policy.judgeNames(route('ubuntu', 'quay.io/other/ubuntu'), 'key:a');
    expect(() => {
      enforce(verdicts);
    }).toThrow(
      expect.objectContaining({
        code: 'policy_denied',
        side: 'target',
        retryable: false,
        message: expect.stringMatching(/"only ours".*quay\.io\/other\/ubuntu:latest/) as string,
        remedy: expect.stringContaining('administrator') as string,
      }) as Error,
    );
  });
});

it('tells apart tenants under different rules, so that they share no decision', () => {
  const policy = createPolicy(
    [
      { name: 'all', maxSize: 1 },
      { name: 'a', deny: true, tenants: ['key:a', 'key:c'] },
      { name: 'b', deny: true, tenants: ['key:b'] },
    ],
    unreadable,
  );
  const [a, b, c, d] = ['key:a', 'key:b', 'key:c', 'key:d'].map((tenant) => policy.groupOf(tenant));
  expect(a).toBe(c);
  expect(new Set([a, b, d]).size).toBe(3);
});

describe('immutable', () => {
  const policy = createPolicy(
    [{ name: 'frozen', immutable: true, targets: ['quay.io/prod/**:v*'] }],
    unreadable,
  );
  const judge = (target: string, plan: Partial<Plan>) =>
    policy.judge(
      {
        tenant: 'key:a',
        selection: everything,
        plan: {
          ...route('ghcr.io/a/b:v1', target),
          digest: digestA,
          held: undefined,
          present: false,
          setsTag: true,
          at: 0,
          ...plan,
        },
      },
      { resolve: () => Promise.reject(new Error('nothing is read')) },
      deadlineIn(60),
    );

  it('lets a tag be set, and refuses to move it', async () => {
    const passed = (passed: boolean) => [expect.objectContaining({ rule: 'frozen', passed }) as unknown];
    expect(await judge('quay.io/prod/b:v1', {})).toEqual(passed(true));
    expect(await judge('quay.io/prod/b:v1', { held: digestA, setsTag: false })).toEqual(passed(true));
    expect(await judge('quay.io/prod/b:v1', { held: digestB, setsTag: false })).toEqual(passed(true));
    const [verdict] = await judge('quay.io/prod/b:v1', { held: digestB });
    expect(verdict?.refusal).toMatchObject({ code: 'immutable_tag', side: 'target' });
    expect(await judge('quay.io/prod/b:latest', { held: digestB })).toEqual([]);
    const move = (target: string) => () => {
      const mirror = { tenant: 'key:a', digest: digestA, ...route('ghcr.io/a/b:v1', target) };
      policy.checkMove(mirror, digestB);
    };
    expect(move('quay.io/prod/b:v1')).toThrow(expect.objectContaining({ code: 'immutable_tag' }) as Error);
    expect(move('quay.io/prod/b:latest')).not.toThrow();
    expect(await judge(`quay.io/prod/b@${digestA}`, { held: digestB })).toEqual([]);
  });
});

describe('a rule about contents', () => {
  let server: TestRegistry;
  let registry: Registry;
  beforeAll(async () => {
    server = await startRegistry();
    registry = createRegistry({ hosts: new Map(), proxy: {}, policy: allowAll });
  });
  afterAll(async () => {
    await registry.close();
    await server.stop();
  });

  async function judge(
    rule: Omit<Rule, 'name'>,
    path: string,
    digest: string,
    {
      selection = everything,
      image = `${server.host}/${path}:1`,
    }: { selection?: Selection; image?: string } = {},
  ) {
    const plan = {
      ...route(image, 'quay.io/a/b:1'),
      ...{ digest: digest as Digest, present: false, setsTag: true, held: undefined, at: 0 },
    };
    const policy = createPolicy([{ name: 'rule', ...rule }], registry);
    const [verdict] = await policy.judge({ tenant: 'key:a', plan, selection }, none, deadlineIn(60));
    return verdict;
  }

  it('counts each blob once, and what is wanted only', async () => {
    const shared = noiseLayer(1, 10_000);
    const [amd64, arm64] = ['amd64', 'arm64'].map((architecture, n) =>
      manifestOf([shared, noiseLayer(10 + n, 20_000)], { platform: { os: 'linux', architecture } }),
    ) as [Manifest, Manifest];
    const { digest } = await push(server.url, 'size/index', '1', indexOf([amd64, arm64]));
    const blobs = new Map(
      [...amd64.children, ...arm64.children].map((blob) => [blob.digest, blob.bytes.length]),
    );
    const total = [...blobs.values()].reduce((sum, size) => sum + size, 0);
    expect(await judge({ maxSize: total }, 'size/index', digest)).toMatchObject({ passed: true });
    const selection = { platforms: ['linux/amd64'], referrers: 'none' as const };
    const part = amd64.children.reduce((sum, { bytes }) => sum + bytes.length, 0);
    expect(await judge({ maxSize: part }, 'size/index', digest, { selection })).toMatchObject({
      passed: true,
    });
    expect(await judge({ maxSize: part - 1 }, 'size/index', digest, { selection })).toMatchObject({
      passed: false,
    });
    expect(await judge({ maxSize: total - 1 }, 'size/index', digest)).toMatchObject({
      passed: false,
      why: `it has ${total} B, and at most ${total - 1} B are allowed`,
      refusal: { code: 'policy_denied', side: 'source' },
    });
  });

  const days = (count: number) => new Date(Date.now() - count * 86_400_000).toISOString();
  const image = (seed: number, created?: string, architecture = 'amd64') =>
    manifestOf([noiseLayer(seed, 100)], {
      platform: { os: 'linux', architecture },
      ...(created !== undefined && { created }),
    });

  it('takes the age of the youngest that is wanted', async () => {
    const old = await push(server.url, 'age/old', '1', image(20, days(5)));
    expect(await judge({ minAge: 4.9 }, 'age/old', old.digest)).toMatchObject({ passed: true });
    expect(await judge({ minAge: 5.1 }, 'age/old', old.digest)).toMatchObject({
      passed: false,
      refusal: { code: 'policy_denied', remedy: expect.stringContaining('Ask again after') as string },
    });
    const both = indexOf([image(21, days(5)), image(22, days(1), 'arm64')]);
    const { digest } = await push(server.url, 'age/both', '1', both);
    expect(await judge({ minAge: 3 }, 'age/both', digest)).toMatchObject({ passed: false });
    expect(await judge({ minAge: 0.5 }, 'age/both', digest)).toMatchObject({ passed: true });
  });

  it('refuses what does not say its age, or says what can not be', async () => {
    for (const [n, created] of [
      undefined,
      '1970-01-01T00:00:00Z',
      '0001-01-01T00:00:00Z',
      '+275760-09-13T00:00:00Z',
      'long ago',
    ].entries()) {
      const { digest } = await push(server.url, `age/none${n}`, '1', image(30 + n, created));
      expect(await judge({ minAge: 1 }, `age/none${n}`, digest)).toMatchObject({
        passed: false,
        why: expect.stringContaining('does not say when it was made') as string,
      });
    }
    const { digest } = await push(server.url, 'age/half', '1', indexOf([image(35, days(9)), image(36)]));
    expect(await judge({ minAge: 1 }, 'age/half', digest)).toMatchObject({ passed: false });
  });

  it('takes the annotation where a config does not say, and does not ask an attestation for its age', async () => {
    const bare = image(40);
    const body = JSON.parse(Buffer.from(bare.bytes).toString()) as object;
    const annotations = { 'org.opencontainers.image.created': days(9) };
    const annotated = {
      ...bare,
      ...content(bare.mediaType, Buffer.from(JSON.stringify({ ...body, annotations }))),
    };
    const one = await push(server.url, 'age/annotated', '1', annotated);
    expect(await judge({ minAge: 8 }, 'age/annotated', one.digest)).toMatchObject({ passed: true });
    const made = image(41, days(9));
    const { digest } = await push(server.url, 'age/attested', '1', indexOf([made, attestationOf(made, 1)]));
    expect(await judge({ minAge: 8 }, 'age/attested', digest)).toMatchObject({ passed: true });
  });

  it('wants a signature by one of its keys', async () => {
    const signer = newSigner();
    const { digest } = await push(server.url, 'sign/app', '1', image(50));
    const keys = readPublicKeys(signer.publicKeyPem);
    const rule = { signedBy: ['keys/acme.pub'], keys };
    expect(await judge(rule, 'sign/app', digest)).toMatchObject({
      passed: false,
      why: expect.stringContaining('acme.pub') as string,
    });
    await pushCosignSignature(server.url, 'sign/app', digest, signer, 'bundle');
    expect(await judge(rule, 'sign/app', digest)).toMatchObject({ passed: true });
    expect(await judge({ signedBy: ['none.pub'], keys: [] }, 'sign/app', digest)).toMatchObject({
      passed: false,
    });
  });

  it('finds a signature while another asks for the same digest where nobody has signed it', async () => {
    const signer = newSigner();
    const keys = readPublicKeys(signer.publicKeyPem);
    const policy = createPolicy([{ name: 'signed', signedBy: ['acme.pub'], keys }], registry);
    const { digest } = await push(server.url, 'sign/bare', '1', image(51));
    await push(server.url, 'sign/signed', '1', image(51));
    await pushCosignSignature(server.url, 'sign/signed', digest, signer, 'tag');
    const judgements = ['sign/bare', 'sign/signed'].map((path) => {
      const found = { digest: digest as Digest, present: false, setsTag: true, held: undefined, at: 0 };
      const plan = { ...route(`${server.host}/${path}:1`, 'quay.io/a/b:1'), ...found };
      return policy.judge({ tenant: 'key:a', plan, selection: everything }, none, deadlineIn(60));
    });
    expect((await Promise.all(judgements)).map(([verdict]) => verdict?.passed)).toEqual([false, true]);
  });

  it('covers a digest also where its scope has tags: leaving the tag out does not lead round it', async () => {
    const { digest } = await push(server.url, 'scope/app', '1', image(60));
    const rule = { maxSize: 1, sources: [`${server.host}/scope/*:v*`] };
    const pinned = `${server.host}/scope/app`;
    expect(await judge(rule, 'scope/app', digest)).toBeUndefined();
    for (const ask of [`${pinned}@${digest}`, `${pinned}:1@${digest}`])
      expect(await judge(rule, 'scope/app', digest, { image: ask })).toMatchObject({ passed: false });
  });

  it('is on the source when that can not be read', async () => {
    await expect(judge({ maxSize: 1 }, 'nowhere/app', digestA)).rejects.toMatchObject({
      code: 'manifest_unknown',
      side: 'source',
    });
  });
});
