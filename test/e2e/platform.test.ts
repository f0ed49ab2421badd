import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { runDray } from '../fixtures/command.ts';
import { manifestOf, noiseLayer, platformsIndex } from '../fixtures/image.ts';
import { createPlatformWorld, platformUser, type PlatformWorld } from '../fixtures/platform-world.ts';
import { newSecret } from '../fixtures/secrets.ts';

const reader = {
  username: 'reader',
  password: newSecret('password of reader'),
  rights: { 'team/*': ['pull'] },
};
const writer = {
  username: 'writer',
  password: newSecret('password of writer'),
  rights: { '*': ['pull', 'push'] },
};
const ann = platformUser(1, 'ann', [10]);
const bob = platformUser(2, 'bob');

describe('a caller of Seqera Platform', () => {
  let world: PlatformWorld;
  beforeAll(async () => {
    world = await createPlatformWorld({ users: [ann, bob], accounts: [reader, writer] });
    const { gate, closedTarget, platform } = world;
    platform.credentials.push(
      credential('c-source', gate.host, reader, { workspaceId: 10 }),
      credential('c-target', `https://${closedTarget.host}/v2/`, writer, { workspaceId: 10 }),
      credential('c-bob', closedTarget.host, writer, { user: bob.id }),
    );
    await world.stock('team/app', '1', platformsIndex(1, { size: 5000 }));
    await world.stock('public/app', '1', manifestOf([noiseLayer(2, 5000)]));
  });
  afterAll(() => world.stop());
  beforeEach(() => {
    world.platform.calls.length = 0;
  });

  const credential = (
    id: string,
    registry: string,
    { username: userName, password }: { username: string; password: string },
    owner: { workspaceId?: number; user?: number },
  ) => ({ id, provider: 'container-reg', registry, keys: { userName, password }, ...owner });
  const paths = () => world.platform.calls.map(({ method, path }) => `${method} ${path}`);

  it('mirrors a private image with the credentials of the workspace', async () => {
    const { status, body } = await world.ask(ann, 'team/app:1', { towerWorkspaceId: 10 });
    expect([status, body.message]).toEqual([200, undefined]);
    expect(body.targetImage).toBe(`${world.closedTarget.host}/team/app:1`);
    expect(await world.finished(body.requestId)).toMatchObject({ succeeded: true });
    const again = await world.ask(ann, 'team/app:1', { towerWorkspaceId: 10 });
    expect(again.body).toMatchObject({ cached: true, succeeded: true, buildId: body.buildId });
    expect(world.platform.faults).toEqual([]);
  });

  it('is asked about once, however many calls come with the same cold token', async () => {
    const newcomer = platformUser(30, 'newcomer');
    world.platform.users.push(newcomer);
    const release = world.platform.hold('/user-info');
    const asked = world.platform.nextCall('/user-info');
    const answers = Promise.all(
      Array.from({ length: 20 }, () => world.ask(newcomer, 'public/app:1', { dryRun: true })),
    );
    await asked;
    release();
    expect((await answers).map(({ status }) => status)).toEqual(Array<number>(20).fill(400));
    expect(paths().filter((path) => path.endsWith('/user-info'))).toHaveLength(1);
  });

  it('with a token that Platform does not know is told so', async () => {
    const stranger = platformUser(99, 'stranger');
    const { status, body } = await world.ask(stranger, 'public/app:1');
    expect([status, body.code]).toEqual([401, 'unauthenticated']);
  });

  it('gets an expired token refreshed once, for all who come with it', async () => {
    const carol = platformUser(3, 'carol', [10]);
    world.platform.users.push(carol);
    const old = { ...carol };
    world.platform.expire(carol.accessToken);
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => world.ask(old, 'team/app:1', { towerWorkspaceId: 10, dryRun: true })),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array<number>(10).fill(200));
    expect(paths().filter((path) => path === 'POST /oauth/access_token')).toHaveLength(1);
    const later = await world.ask(old, 'team/app:1', { towerWorkspaceId: 10, dryRun: true });
    expect(later.status).toBe(200);
  });

  it('uses our command line with the variables of the Wave command line', async () => {
    const env = {
      DRAY_URL: world.service.url,
      TOWER_ACCESS_TOKEN: ann.accessToken,
      TOWER_API_ENDPOINT: world.platform.endpoint,
      TOWER_WORKSPACE_ID: '10',
    };
    await world.stock('team/command', '1', manifestOf([noiseLayer(7, 5000)]));
    const image = `${world.gate.host}/team/command:1`;
    const mirror = ['mirror', image, '--to', world.closedTarget.host];
    expect(await runDray(mirror, { env })).toMatchObject({ code: 0, stderr: '' });
    const listed = await runDray(['list', '--json'], { env });
    expect(listed.stdout).toContain(`"target":"${world.closedTarget.host}/team/command:1"`);
    const { id } = listed.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { id: string; source: string })
      .find(({ source }) => source === image) ?? { id: '' };
    expect((await runDray(['logs', id], { env })).stdout).toContain('Done');
    const stranger = { ...env, TOWER_WORKSPACE_ID: '11' };
    const refused = await runDray(['list'], { env: stranger });
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('workspace 11')]);
  });

  it('may not name a workspace of others', async () => {
    const { status, body } = await world.ask(bob, 'team/app:1', { towerWorkspaceId: 10 });
    expect([status, body.code]).toEqual([403, 'forbidden']);
    expect(body.message).toContain('workspace 10');
  });

  it('of an endpoint that is not paired leaves the administrator with what to set', async () => {
    for (const endpoint of ['https://attacker.example/api', 'http://169.254.169.254/', 'nonsense']) {
      const { status, body } = await world.ask(ann, 'public/app:1', { towerEndpoint: endpoint });
      expect([status, body.code]).toEqual([400, 'unpaired_endpoint']);
      expect(body.message).toContain('platform.endpoints');
    }
    const login = newSecret('login in an endpoint');
    const named = await world.ask(ann, 'public/app:1', { towerEndpoint: `https://u:${login}@other.example` });
    expect(named.body.code).toBe('unpaired_endpoint');
    expect(named.body.message).not.toContain(login);
    expect(world.platform.calls).toEqual([]);
  });

  it('is told at once which credential the target wants', async () => {
    const { status, body } = await world.ask(ann, 'public/app:1');
    expect([status, body.code, body.side]).toEqual([400, 'login_required', 'target']);
    expect(body.remedy).toContain(
      `Add a container registry credential for ${world.closedTarget.host} to your personal workspace`,
    );
  });

  it('is told that a source is missing or private, and which credential would help', async () => {
    const { status, body } = await world.ask(bob, 'team/app:1');
    expect([status, body.code, body.side]).toEqual([400, 'login_required', 'source']);
    expect(body.message).toContain('does not exist, or it is private');
    expect(body.remedy).toContain(`credential for ${world.gate.host}`);
  });

  it('mirrors a public image without a login for its source', async () => {
    const { status, body } = await world.ask(bob, 'public/app:1');
    expect([status, body.message]).toEqual([200, undefined]);
    expect(await world.finished(body.requestId)).toMatchObject({ succeeded: true });
  });

  it('is told when a credential is wrong or broken, on which side, and where to mend it', async () => {
    const dave = platformUser(4, 'dave');
    world.platform.users.push(dave);
    const { platform, closedTarget } = world;
    const wrong = { username: 'writer', password: newSecret('wrong password of writer') };
    platform.credentials.push(credential('c-wrong', closedTarget.host, wrong, { user: dave.id }));
    const refused = await world.ask(dave, 'public/app:1');
    expect(refused.body).toMatchObject({ code: 'credentials_rejected', side: 'target' });
    expect(refused.status).toBe(400);
    expect(refused.body.remedy).toContain('your personal workspace on Seqera Platform');

    const erin = platformUser(5, 'erin');
    platform.users.push(erin);
    platform.credentials.push(credential('c-broken', closedTarget.host, wrong, { user: erin.id }));
    platform.answerWith({ body: '{"keys": "1\\\\P\\\\AAAA\\\\AAAA"}' }, { path: /c-broken/ });
    const broken = await world.ask(erin, 'public/app:1');
    expect([broken.status, broken.body.code]).toEqual([400, 'credential_unreadable']);
  });

  it('hears 503 with Retry-After while Platform is slow, away or talks nonsense', async () => {
    const frank = platformUser(6, 'frank');
    world.platform.users.push(frank);
    world.platform.answerWith(500, { path: '/user-info', times: 100 });
    const { status, body, headers } = await world.ask(frank, 'public/app:1');
    expect([status, body.code]).toEqual([503, 'platform_unavailable']);
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
  });
});

describe('the installation', () => {
  it('lends a Platform caller only what is marked as shared', async () => {
    const shared = newSecret('password of the shared writer');
    const own = newSecret('password of the own reader');
    const world = await createPlatformWorld({
      users: [ann],
      accounts: [
        { username: 'shared', password: shared, rights: { '*': ['pull', 'push'] } },
        { username: 'own', password: own, rights: { '*': ['pull'] } },
      ],
      settings: ({ source, target, tokens }) => `registries:
  - { host: "${source}", username: own, password: { env: OWN }, tokenServers: ["${tokens}"] }
  - { host: "${target}", username: shared, password: { env: SHARED }, shared: true, tokenServers: ["${tokens}"] }
`,
      env: { OWN: own, SHARED: shared },
    });
    await world.stock('team/app', '1', manifestOf([noiseLayer(3, 2000)]));
    await world.stock('public/app', '1', manifestOf([noiseLayer(4, 2000)]));
    expect((await world.ask(ann, 'team/app:1')).body).toMatchObject({
      code: 'login_required',
      side: 'source',
    });
    const open = await world.ask(ann, 'public/app:1');
    expect(await world.finished(open.body.requestId)).toMatchObject({ succeeded: true });
    // A key of the installation's own may use both.
    const mine = await world.submit(`${world.gate.host}/team/app:1`, world.closedTarget.host);
    expect(await world.finished(mine.body.requestId)).toMatchObject({ succeeded: true });
    await world.stop();
  });
});
