import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newSigner } from '../fixtures/cosign.ts';
import { runDray } from '../fixtures/command.ts';
import { platformsIndex, push } from '../fixtures/image.ts';
import { type Envelope, mirrored, receiptOf } from '../fixtures/receipts.ts';
import { freePort } from '../fixtures/registry.ts';
import { createWorld, type World } from '../fixtures/world.ts';

let world: World;
beforeAll(async () => {
  world = await createWorld({ settings: 'freshness: 0\nreceipts: {push: true}\n' });
});
afterAll(() => world.stop());

let seed = 9100;
const file = async (name: string, text: string) => {
  const path = join(world.dataDir, name);
  await writeFile(path, text);
  return path;
};

async function image(path: string): Promise<{ receipt: Envelope; source: string }> {
  await push(world.source.url, path, '1', platformsIndex(++seed, { size: 500 }));
  const source = `${world.source.host}/${path}:1`;
  return { source, receipt: await receiptOf(world, await mirrored(world, source)) };
}

/** Where the service is, is said by the variable; it needs no key to publish its keys. */
const verify = (source: string, ...args: string[]) =>
  runDray(['verify', source, '--at', world.target.host, ...args], {
    env: { DRAY_URL: world.service.url, HOME: world.dataDir },
  });

describe('dray verify', () => {
  it('finds the receipt at the target good, by the keys of the service', async () => {
    const { source } = await image('left');
    const { code, stdout } = await verify(source, '--receipts');
    expect({ code, stdout }).toMatchObject({ code: 0 });
    expect(stdout).toContain(`receipt    of ${source}, `);
  });

  it('takes keys from a file, as the command prints them in both its forms', async () => {
    const { source } = await image('keys');
    for (const form of [[], ['--json']]) {
      const { stdout: keys } = await runDray(['receipt-keys', ...form], {
        env: { DRAY_URL: world.service.url },
      });
      const path = await file('keys', keys);
      // No service is asked.
      const { code, stdout } = await runDray(
        ['verify', source, '--at', world.target.host, '--receipt-keys', path, '--json'],
        { env: { DRAY_URL: 'http://127.0.0.1:1', HOME: world.dataDir } },
      );
      expect(code).toBe(0);
      const predicate = { source: { reference: source }, by: { name: 'dray' } };
      expect(JSON.parse(stdout)).toMatchObject({ ok: true, receipts: [{ predicate }] });
    }
  });

  it('checks a receipt from a file, and says what is wrong with another', async () => {
    const [one, other] = [await image('one'), await image('other')];
    const elsewhere = await receiptOf(
      world,
      await mirrored(world, one.source, `${world.target.host}/elsewhere`),
    );
    const given = async (receipt: unknown) => {
      const path = await file('receipt.json', JSON.stringify(receipt));
      const { code, stdout } = await verify(one.source, '--receipt', path);
      return { code, stdout };
    };
    expect(await given(one.receipt)).toMatchObject({ code: 0 });
    const { payload } = one.receipt;
    const altered = Buffer.from(Buffer.from(payload, 'base64').toString().replace('blobs', 'full!')).toString(
      'base64',
    );
    for (const [receipt, complaint] of [
      [other.receipt, /It is a receipt of sha256:/],
      [{ ...one.receipt, payload: altered }, /The signature does not fit/],
      [elsewhere, /It is a receipt of 127.0.0.1:[0-9]+\/elsewhere\/one:1, not of/],
      [{ payload }, /This is no DSSE envelope/],
      ['', /This is no DSSE envelope/],
    ] as const)
      expect(await given(receipt)).toMatchObject({
        code: 1,
        stdout: expect.stringMatching(complaint) as string,
      });
  });

  it('takes no receipt that is signed with another key', async () => {
    const { source } = await image('stranger');
    const path = await file('stranger.pem', newSigner().publicKeyPem);
    const { code, stdout } = await verify(source, '--receipt-keys', path);
    expect({ code, stdout }).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('no key that is known') as string,
    });
  });

  it('says when there is no receipt at the target', async () => {
    await push(world.source.url, 'none', '1', platformsIndex(++seed, { size: 500 }));
    const source = `${world.source.host}/none:1`;
    const copied = await runDray(['mirror', source, '--to', world.target.host], {
      cwd: world.dataDir,
      env: { DRAY_CONFIG: await file('alone.yaml', `port: ${await freePort()}\n`), HOME: world.dataDir },
    });
    expect(copied).toMatchObject({ code: 0 });
    expect(await verify(source, '--receipts')).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('There is no receipt of it') as string,
    });
  });

  it.each(['nothing here', '{"keys": [{}]}', ''])('says that %j holds no keys', async (text) => {
    const path = await file('wrong.pem', text);
    const { code, stderr } = await verify(`${world.source.host}/x:1`, '--receipt-keys', path);
    expect({ code, stderr }).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('holds no public keys') as string,
    });
  });
});
