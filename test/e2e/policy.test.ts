import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDray } from '../fixtures/command.ts';
import { newSigner, pushCosignSignature, type SignatureForm } from '../fixtures/cosign.ts';
import { startGate } from '../fixtures/gate.ts';
import { manifestOf, noiseLayer, type Pushed, push } from '../fixtures/image.ts';
import { freePort } from '../fixtures/registry.ts';
import { newSecret } from '../fixtures/secrets.ts';
import { createWorld, type World } from '../fixtures/world.ts';

let world: World;
let folder: string;
const signer = newSigner();
const stranger = newSigner();

const settings = (key: string, freshness = 0) => `
freshness: ${freshness}
copies: 1
policy:
  - { name: nothing denied, sources: ['**/denied/**'], deny: true }
  - { name: approved, sources: ['**/strict/**'], allowSources: ['127.0.0.1:*/strict/good*:v*'] }
  - { name: our place, sources: ['**/placed/**'], allowTargets: ['127.0.0.1:*/ours/**'] }
  - { name: small, sources: ['**/sized/**'], maxSize: 50kB }
  - { name: ripe, sources: ['**/aged/**'], minAge: 3 }
  - { name: signed, sources: ['**/signed/**'], signedBy: [${key}] }
  - { name: frozen, targets: ['**/frozen/**'], immutable: true }
  - { name: not these, sources: ['**/private/**'], tenants: ['key:DRAY_API_KEY', local], deny: true }
`;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dray-policy-'));
  await writeFile(join(folder, 'cosign.pub'), signer.publicKeyPem);
  world = await createWorld({
    settings: settings(join(folder, 'cosign.pub')),
    env: { DRAY_API_KEY: newSecret('administrator key of a service with rules', 'dray_') },
  });
});
afterAll(async () => {
  await world.stop();
  await rm(folder, { recursive: true, force: true });
});

let seed = 7000;
const image = (path: string, tag = '1', { size = 5000, created = '2024-01-01T00:00:00Z' } = {}) =>
  push(world.source.url, path, tag, manifestOf([noiseLayer(++seed, size)], { created }));

const held = async (path: string, tag = '1') => {
  const answer = await fetch(`${world.target.url}/v2/${path}/manifests/${tag}`, {
    headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
  });
  await answer.body?.cancel();
  return answer.headers.get('docker-content-digest') ?? undefined;
};

interface Outcome {
  code?: string;
  side?: string;
  message?: string;
}

/** How a request ends: with the error that refuses it, or with the image at the target. */
type Ask = (image: string, to: string) => Promise<Outcome>;

const overTheService: Ask = async (name, to) => {
  const { status, body } = await world.submit(name, to);
  if (status !== 200) {
    expect(status).toBe(body.code === 'immutable_tag' ? 400 : 403);
    return body;
  }
  const { succeeded, reason = '' } = await world.finished(body.requestId);
  return succeeded ? {} : { message: reason };
};

const alone: Ask = async (name, to) => {
  const env = {
    ...{ HOME: folder, DRAY_CONFIG: join(world.dataDir, 'dray.yaml'), DRAY_DATA_DIR: join(folder, 'data') },
    DRAY_PORT: String(await freePort()),
  };
  const { code, stdout } = await runDray(['mirror', name, '--to', to, '--json'], { env, cwd: folder });
  const { failure } = JSON.parse(stdout) as { failure?: Outcome };
  expect(code).toBe(failure ? 1 : 0);
  return failure ?? {};
};

describe.each([
  ['over the service', 'service', overTheService],
  ['alone', 'alone', alone],
])('policy %s', (_, where, ask) => {
  const at = () => `${world.source.host}/${where}`;
  const to = (path: string) => `${world.target.host}/${path}/${where}`;
  const refusal = (rule: string, side: 'source' | 'target' = 'source', code = 'policy_denied') => ({
    ...{ code, side },
    message: expect.stringContaining(`The rule "${rule}" does not let`) as string,
  });

  it('refuses what a rule denies before any registry is asked', async () => {
    await image(`${where}/denied/app`);
    const logs = [world.source.log(), world.target.log()];
    expect(await ask(`${at()}/denied/app:1`, to('x'))).toMatchObject(refusal('nothing denied'));
    expect([world.source.log(), world.target.log()]).toEqual(logs);
  });

  it('takes only sources and targets that a rule allows', async () => {
    await Promise.all([image(`${where}/strict/good1`, 'v1'), image(`${where}/placed/app`)]);
    const { digest } = await image(`${where}/strict/good1`, 'latest');
    for (const wrong of ['other:v1', 'good1:latest', `good1@${digest}`])
      expect(await ask(`${at()}/strict/${wrong}`, to('x'))).toMatchObject(refusal('approved'));
    // The pattern allows no path before it.
    expect(await ask(`${at()}/strict/good1:v1`, to('x'))).toMatchObject(refusal('approved'));
    await image('strict/good1', 'v1');
    expect(await ask(`${world.source.host}/strict/good1:v1`, to('x'))).toEqual({});
    expect(await ask(`${at()}/placed/app:1`, to('theirs'))).toMatchObject(refusal('our place', 'target'));
    expect(await ask(`${at()}/placed/app:1`, to('ours'))).toEqual({});
    expect(await held(`ours/${where}/${where}/placed/app`)).toBeDefined();
  });

  it('takes what is small enough, also when it is there already', async () => {
    await image(`${where}/sized/small`);
    const large = manifestOf([noiseLayer(++seed, 60_000)]);
    await push(world.source.url, `${where}/sized/large`, '1', large);
    expect(await ask(`${at()}/sized/small:1`, to('x'))).toEqual({});
    expect(await ask(`${at()}/sized/large:1`, to('x'))).toMatchObject(refusal('small'));
    expect(await held(`x/${where}/${where}/sized/large`)).toBeUndefined();
    await push(world.target.url, `x/${where}/${where}/sized/large`, '1', large);
    expect(await ask(`${at()}/sized/large:1`, to('x'))).toMatchObject(refusal('small'));
  });

  it('takes what is old enough', async () => {
    await image(`${where}/aged/old`);
    await image(`${where}/aged/new`, '1', { created: new Date().toISOString() });
    expect(await ask(`${at()}/aged/old:1`, to('x'))).toEqual({});
    expect(await ask(`${at()}/aged/new:1`, to('x'))).toMatchObject(refusal('ripe'));
  });

  it.each<SignatureForm>(['tag', 'referrer', 'bundle', 'message'])(
    'takes what is signed: %s',
    async (form) => {
      const path = `${where}/signed/${form}`;
      const { digest } = await image(path);
      const sign = (by: typeof signer, of = digest) =>
        pushCosignSignature(world.source.url, path, digest, by, form, { claimed: of });
      expect(await ask(`${world.source.host}/${path}:1`, to('x'))).toMatchObject(refusal('signed'));
      await sign(stranger);
      if (form !== 'message') await sign(signer, `sha256:${'d'.repeat(64)}`);
      expect(await ask(`${world.source.host}/${path}:1`, to('x'))).toMatchObject(refusal('signed'));
      await sign(signer);
      expect(await ask(`${world.source.host}/${path}:1`, to('x'))).toEqual({});
      expect(await held(`x/${where}/${path}`)).toBe(digest);
    },
  );

  it('does not move a tag that is immutable', async () => {
    const path = `${where}/lib/app`;
    const first = await image(path);
    expect(await ask(`${world.source.host}/${path}:1`, to('frozen'))).toEqual({});
    // The same again is no move.
    expect(await ask(`${world.source.host}/${path}:1`, to('frozen'))).toEqual({});
    await image(path);
    const refused = refusal('frozen', 'target', 'immutable_tag');
    expect(await ask(`${world.source.host}/${path}:1`, to('frozen'))).toMatchObject(refused);
    expect(await held(`frozen/${where}/${path}`)).toBe(first.digest);
    expect(await ask(`${world.source.host}/${path}:1`, to('thawed'))).toEqual({});
  });
});

it('keeps a tag where it is that was set after a copy was accepted', async () => {
  const gate = await startGate(world.source.host);
  await image('slow/app');
  // One copy at a time: this one keeps the others waiting.
  const hold = gate.add(/^GET \/v2\/slow\/app\/blobs\//, { kind: 'hold' });
  const { body: before } = await world.submit(`${gate.host}/slow/app:1`, world.target.host);
  await hold.met;
  const asked: { pushed: Pushed; requestId: string }[] = [];
  for (let n = 0; n < 2; n++) {
    const pushed = await image('race/app');
    const { body } = await world.submit(
      `${world.source.host}/race/app:1`,
      `${world.target.host}/frozen/late`,
    );
    asked.push({ pushed, requestId: body.requestId });
  }
  hold.release();
  const ends = await Promise.all(asked.map(({ requestId }) => world.finished(requestId)));
  await world.finished(before.requestId);
  await gate.stop();
  expect(ends).toMatchObject([
    { succeeded: true },
    { succeeded: false, reason: expect.stringContaining('The rule "frozen"') as string },
  ]);
  expect(await held('frozen/late/race/app')).toBe(asked[0]?.pushed.digest);
});

it('is of whom a rule names, also where another has had the same answer', async () => {
  // A decision stands for a while, and is shared.
  const file = join(folder, 'dray.yaml');
  await writeFile(file, settings(join(folder, 'cosign.pub'), 60));
  await world.service.stop();
  await world.restart({ DRAY_CONFIG: file });
  const { digest } = await image('private/app');
  const name = `${world.source.host}/private/app:1`;
  const admin = { authorization: `Bearer ${world.service.key}` };
  const { body: made } = await world.call<{ key: string }>('POST', '/v1/keys', { name: 'user' }, admin);
  const user = { towerAccessToken: made.key };
  const { body } = await world.submit(name, world.target.host, user);
  await world.finished(body.requestId);
  expect(await held('private/app')).toBe(digest);
  const asUser = () => world.submit(name, world.target.host, user);
  expect((await asUser()).body).toMatchObject({ cached: true });
  const refused = await world.submit(name, world.target.host);
  expect(refused).toMatchObject({ status: 403, body: { code: 'policy_denied' } });
  expect(refused.body.message).toContain('The rule "not these"');
  expect((await asUser()).body).toMatchObject({ cached: true });
  const here = await alone(name, `${world.target.host}/here`);
  expect(here).toMatchObject({ code: 'policy_denied' });
});
