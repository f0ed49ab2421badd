import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { manifestOf, noiseLayer, push } from '../fixtures/image.ts';
import { createPlatformWorld, platformUser, type PlatformWorld } from '../fixtures/platform-world.ts';
import type { PlatformUser } from '../fixtures/platform-api.ts';
import { newSecret } from '../fixtures/secrets.ts';
import { startStandIn } from '../fixtures/stand-in.ts';

const account = (username: string, rights: Record<string, string[]>) => ({
  username,
  password: newSecret(`password of ${username}`),
  rights,
});
const [writer, writerToo, reader, outsider] = [
  account('writer', { '*': ['pull', 'push'] }),
  account('writer-too', { '*': ['pull', 'push'] }),
  account('reader', { '*': ['pull'] }),
  account('outsider', { 'own/*': ['pull', 'push'] }),
];
// Two in one workspace, and one in each of three others.
const ann = platformUser(1, 'ann-of-ten', [10]);
const anton = platformUser(2, 'anton-of-ten', [10]);
const bob = platformUser(3, 'bob-of-twenty', [20]);
const carol = platformUser(4, 'carol-of-thirty', [30]);
const dora = platformUser(5, 'dora-of-forty', [40]);

describe('tenants', () => {
  let world: PlatformWorld;
  let images = 0;
  beforeAll(async () => {
    world = await createPlatformWorld({
      users: [ann, anton, bob, carol, dora],
      accounts: [writer, writerToo, reader, outsider],
    });
    for (const [workspaceId, { username: userName, password }] of [
      [10, writer],
      [20, writerToo],
      [30, reader],
      [40, outsider],
    ] as const)
      for (const registry of [world.gate.host, world.closedTarget.host])
        world.platform.credentials.push({
          ...{ id: `c-${workspaceId}-${registry.replace(/\W/g, '-')}`, provider: 'container-reg', registry },
          ...{ workspaceId, keys: { userName, password } },
        });
  });
  afterAll(() => world.stop());

  const ask = (user: PlatformUser, image: string) =>
    world.ask(user, image, { towerWorkspaceId: user.workspaces?.[0] });
  const as = (user: PlatformUser) => ({
    authorization: `Bearer ${user.accessToken}`,
    'platform-endpoint': world.platform.endpoint,
    'platform-workspace': String(user.workspaces?.[0]),
  });
  const listOf = async (headers: Record<string, string>) =>
    (
      await world.call<{ mirrors: { id: string }[] }>('GET', '/v1/mirrors', undefined, headers)
    ).body.mirrors.map(({ id }) => id);
  const logOf = (id: string, headers: Record<string, string>) =>
    world.call<string>('GET', `/v1alpha1/mirrors/${id}/logs`, undefined, headers);

  async function stocked(): Promise<string> {
    const path = `team/image-${++images}`;
    await world.stock(path, '1', manifestOf([noiseLayer(images, 5000)]));
    return path;
  }
  /** Asks for an image, and keeps its copy from ending. */
  async function held(user: PlatformUser) {
    const path = await stocked();
    const rule = world.gate.add(new RegExp(`^GET /v2/${path}/blobs/`), { kind: 'hold' });
    const { body } = await ask(user, `${path}:1`);
    await rule.met;
    return { path, body, release: () => rule.release() };
  }

  it('see what their workspace has asked for, and nothing of others', async () => {
    const { body } = await ask(ann, `${await stocked()}:1`);
    const id = body.buildId ?? '';
    await world.finished(body.requestId);
    expect(await listOf(as(ann))).toContain(id);
    expect(await listOf(as(anton))).toContain(id);
    expect(await listOf(as(bob))).not.toContain(id);
    expect(await listOf({ authorization: `Bearer ${world.service.key}` })).toContain(id);
    expect((await logOf(id, as(anton))).body).toContain('Done');
    expect((await logOf(id, as(bob))).status).toBe(403);
    expect((await logOf(id, { authorization: `Bearer ${world.service.key}` })).status).toBe(200);
    // The same user outside of the workspace is another tenant.
    const personal = { ...as(ann), 'platform-workspace': '' };
    expect(await listOf(personal)).not.toContain(id);
    expect((await logOf(id, personal)).status).toBe(403);
    // And one who claims to be in it is none.
    expect((await logOf(id, { ...as(bob), 'platform-workspace': '10' })).status).toBe(403);
  });

  it('are named nowhere that is open to whoever holds an id', async () => {
    const { body } = await ask(ann, `${await stocked()}:1`);
    await world.finished(body.requestId);
    const open = await Promise.all(
      [
        `/v1alpha2/container/${body.requestId}`,
        `/v1alpha2/container/${body.requestId}/status`,
        `/v1alpha1/mirrors/${body.buildId}`,
        `/view/mirrors/${body.buildId}`,
        `/view/containers/${body.requestId}`,
      ].map(async (path) => {
        const { status, body: shown } = await world.call<unknown>('GET', path);
        expect([path, status]).toEqual([path, 200]);
        return JSON.stringify(shown);
      }),
    );
    // Looked into at all: each of them says what it is about.
    expect(open.filter((text) => text.includes('team/image')).length).toBeGreaterThanOrEqual(4);
    for (const text of open)
      expect(text).not.toMatch(/ann-of-ten|platform\.example|workspace|writer|Copying|"logs"/);
  });

  it('share a copy when each may make it', async () => {
    const { path, body, release } = await held(ann);
    const joined = await ask(bob, `${path}:1`);
    expect(joined.body).toMatchObject({ buildId: body.buildId, cached: false });
    release();
    expect(await world.finished(joined.body.requestId)).toMatchObject({ succeeded: true });
    // Who joined may follow it.
    expect(await listOf(as(bob))).toContain(body.buildId);
  });

  it('do not join a copy to where they may not push', async () => {
    const { path, body, release } = await held(ann);
    const refused = await ask(carol, `${path}:1`);
    expect([refused.status, refused.body.code, refused.body.side]).toEqual([
      400,
      'insufficient_scope',
      'target',
    ]);
    expect(refused.body.buildId).toBeUndefined();
    release();
    await world.finished(body.requestId);
    // What is there they may read.
    const there = await ask(carol, `${path}:1`);
    expect(there.body).toMatchObject({ cached: true, succeeded: true });
    // Whose it was is not theirs to know.
    expect(there.body.buildId).toBeUndefined();
  });

  it('do not get what they may not see at the source, though others have it', async () => {
    const { path, body, release } = await held(ann);
    const during = await ask(dora, `${path}:1`);
    expect([during.status, during.body.side]).toEqual([400, 'source']);
    release();
    await world.finished(body.requestId);
    const after = await ask(dora, `${path}:1`);
    expect([after.status, after.body.side]).toEqual([400, 'source']);
  });

  it('are not told from where others mirror', async () => {
    const { path, body, release } = await held(ann);
    await push(world.source.url, path, '1', manifestOf([noiseLayer(1000 + images, 100)]));
    const other = { towerEndpoint: world.platform.endpoint, towerWorkspaceId: 20 };
    const refused = await world.submit(`${world.source.host}/${path}:1`, world.closedTarget.host, {
      ...other,
      towerAccessToken: bob.accessToken,
    });
    expect([refused.status, refused.body.code]).toEqual([400, 'origin_conflict']);
    expect(refused.body.message).toContain('a mirror of another source');
    expect(refused.body.message).not.toContain(world.gate.host);
    release();
    await world.finished(body.requestId);
  });

  it('do not join a copy from a source of others, but get what it has brought', async () => {
    const { path, body, release } = await held(ann);
    await push(world.source.url, path, '1', manifestOf([noiseLayer(images, 5000)]));
    const answer = world.submit(`${world.source.host}/${path}:1`, world.closedTarget.host, {
      ...{ towerAccessToken: bob.accessToken, towerEndpoint: world.platform.endpoint, towerWorkspaceId: 20 },
    });
    release();
    await world.finished(body.requestId);
    // It has waited for the end of the other's copy, within the time that a submit has.
    expect((await answer).body).toMatchObject({ cached: true, succeeded: true });
    expect((await answer).body.buildId).toBeUndefined();
  });

  it('keep nobody from a target by sources that never answer', async () => {
    const path = await stocked();
    const silent = await startStandIn(() => undefined);
    // Of somebody without any right, whose source hangs until the submit gives up.
    const hanging = Array.from({ length: 5 }, () =>
      world.submit(`${silent.host}/${path}:1`, world.closedTarget.host, {
        ...{
          towerAccessToken: dora.accessToken,
          towerEndpoint: world.platform.endpoint,
          towerWorkspaceId: 40,
        },
      }),
    );
    await expect.poll(() => silent.seen.length).toBeGreaterThan(0);
    const { status, body } = await ask(ann, `${path}:1`);
    expect([status, body.message]).toEqual([200, undefined]);
    await silent.stop();
    await Promise.all(hanging);
    await world.finished(body.requestId);
  });
});
