import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startRegistry, type TestRegistry } from '../../test/fixtures/registry.ts';
import { newSecret } from '../../test/fixtures/secrets.ts';
import { answer, type StandIn, startStandIn } from '../../test/fixtures/stand-in.ts';
import { startTokenServer, type TokenServer } from '../../test/fixtures/token-server.ts';
import type { Credential } from '../core/credential.ts';
import { chain, type Keychain } from '../keychain/keychain.ts';
import { allowAll } from '../lib/address.ts';
import { createRegistry } from '../registry/client.ts';
import type { Registry } from '../registry/registry.ts';
import { createPushCheck, type PushCheck, type PushOptions } from './access.ts';
import { deadlineIn } from './retry.ts';

const writer = {
  username: 'writer',
  password: newSecret('password of writer'),
  rights: { 'team/*': ['pull', 'push'] },
};
const reader = {
  username: 'reader',
  password: newSecret('password of reader'),
  rights: { 'team/*': ['pull'] },
};

describe('whether a target may be pushed to', () => {
  let tokens: TokenServer;
  let server: TestRegistry;
  let client: Registry;
  let check: PushCheck;
  beforeAll(async () => {
    tokens = await startTokenServer({ users: [writer, reader], anonymous: { 'team/*': ['pull'] } });
    server = await startRegistry({ token: tokens.trust });
    const hosts = new Map([[server.host, { tokenServers: [tokens.host] }]]);
    client = createRegistry({ hosts, proxy: {}, policy: allowAll });
  });
  afterAll(() => Promise.all([client.close(), server.stop(), tokens.stop()]));
  beforeEach(() => {
    check = createPushCheck(client);
    tokens.asked.length = 0;
  });

  const keychainOf = (credential?: Credential): Keychain => ({ resolve: async () => credential });
  const asking = (
    credential: Credential | undefined,
    { strict = true, dryRun = false, ...more }: Partial<PushOptions> & { host?: string } = {},
  ) =>
    check(
      { registry: more.host ?? server.host, path: 'team/app' },
      { keychain: more.keychain ?? keychainOf(credential), strict, dryRun },
      deadlineIn(5),
    );
  const login = ({ username, password }: { username: string; password: string }) => ({ username, password });

  it('is seen with the login that would be used', async () => {
    await asking(login(writer));
    await expect(asking(login(reader))).rejects.toMatchObject({ code: 'insufficient_scope', side: 'target' });
    await expect(asking(undefined)).rejects.toMatchObject({ code: 'login_required', side: 'target' });
  });

  it('is asked once a minute for each login, and never again for what was refused before it is asked anew', async () => {
    for (let n = 0; n < 3; n++) await asking(login(writer));
    expect(tokens.asked.filter(({ username }) => username === 'writer')).toHaveLength(1);
    await expect(asking(login(reader))).rejects.toMatchObject({ code: 'insufficient_scope' });
    tokens.users = tokens.users.map((user) =>
      user.username === 'reader' ? { ...user, rights: writer.rights } : user,
    );
    await asking(login(reader));
    tokens.users = [writer, reader];
  });

  it('is taken for granted of the installation’s own login, which the copy tries soon enough', async () => {
    await asking(login(reader), { strict: false });
    expect(tokens.asked).toEqual([]);
    await expect(asking(undefined, { strict: false })).rejects.toMatchObject({ code: 'login_required' });
  });

  describe('where repositories must be made first', () => {
    let ecr: StandIn;
    beforeAll(async () => {
      ecr = await startStandIn((_, response) =>
        answer(response, 404, { errors: [{ code: 'NAME_UNKNOWN', message: 'no such repository' }] }),
      );
    });
    afterAll(() => ecr.stop());

    it('is no to what is not there', async () => {
      await expect(asking(login(writer), { host: ecr.host })).rejects.toMatchObject({
        code: 'push_refused',
        message: expect.stringContaining('does not exist') as string,
      });
    });

    it('has it made, except on a dry run, which takes it for made', async () => {
      const made: string[] = [];
      const keychain: Keychain = {
        resolve: async () => login(writer),
        prepare: async ({ path }) => made.push(path) > 0,
        prepares: () => true,
      };
      await asking(undefined, { host: ecr.host, keychain, dryRun: true });
      expect(made).toEqual([]);
      // What the dry run took for granted is not known.
      await expect(asking(undefined, { host: ecr.host, keychain })).rejects.toMatchObject({
        code: 'push_refused',
      });
      expect(made).toEqual(['team/app']);
    });

    it('is no on a dry run too, where nobody makes repositories', async () => {
      const keychain = chain(keychainOf(login(writer)));
      await expect(asking(undefined, { host: ecr.host, keychain, dryRun: true })).rejects.toMatchObject({
        code: 'push_refused',
      });
    });
  });
});
