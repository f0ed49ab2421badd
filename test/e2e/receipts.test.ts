import { execFileSync } from 'node:child_process';
import { createPublicKey, hash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runDray } from '../fixtures/command.ts';
import { startGate } from '../fixtures/gate.ts';
import { content, manifestOf, noiseLayer, platformsIndex, push } from '../fixtures/image.ts';
import { startPostgres } from '../fixtures/postgres.ts';
import { type Envelope, mirrored, type ReceiptKey, receiptOf, stated } from '../fixtures/receipts.ts';
import { fetchTree } from '../fixtures/tree.ts';
import { createWorld, type World } from '../fixtures/world.ts';

let world: World;
let seed = 7000;
beforeAll(async () => {
  world = await createWorld({ settings: 'freshness: 0\nretry: {firstPause: 0.2, longestPause: 0.2}\n' });
});
afterAll(() => world.stop());

const admin = () => ({ authorization: `Bearer ${world.service.key}` });
const keys = async () =>
  (await world.call<{ keys: ReceiptKey[] }>('GET', '/.well-known/dray-receipt-keys.json')).body.keys;
const names = (envelope: Envelope) => envelope.signatures.map(({ keyid }) => keyid);

/** What openssl says of a signature over the PAE, which is put together here. */
function openssl({ payload, payloadType, signatures }: Envelope, pem: string): string {
  const file = (name: string, bytes: string | Buffer) => {
    writeFileSync(join(world.dataDir, name), bytes);
    return join(world.dataDir, name);
  };
  const body = Buffer.from(payload, 'base64');
  const head = `DSSEv1 ${payloadType.length} ${payloadType} ${body.length} `;
  const args = [
    ...['dgst', '-sha256', '-verify', file('key.pem', pem)],
    ...['-signature', file('sig', Buffer.from(signatures[0]?.sig ?? '', 'base64'))],
    file('signed', Buffer.concat([Buffer.from(head), body])),
  ];
  try {
    return execFileSync('openssl', args, { encoding: 'utf8', stdio: 'pipe' }).trim();
  } catch (error) {
    return (error as { stdout: string }).stdout.trim();
  }
}

describe('the receipt of a mirror that is done', () => {
  it('says what the target holds, from where and when, and openssl finds its signature good', async () => {
    const image = await push(world.source.url, 'told', '1', platformsIndex(++seed));
    const sbom = content('application/spdx+json', Buffer.from(`{"of":"${image.digest}"}`));
    const artifact = manifestOf([sbom], { subject: image, artifactType: sbom.mediaType });
    const referrer = await push(world.source.url, 'told', undefined, artifact);
    await listUnderTag(world.source.url, 'told', image.digest, referrer);
    const buildId = await mirrored(world, `${world.source.host}/told:1`);
    const envelope = await receiptOf(world, buildId);
    const { body: mirror } = await world.call<Record<string, string>>(
      'GET',
      `/v1/mirrors/${buildId}`,
      undefined,
      admin(),
    );
    const held = await fetchTree(world.target.url, 'told', image.digest);
    const blobs = held.filter(({ mediaType }) => mediaType === 'blob');
    const { digest } = image;
    expect(stated(envelope)).toEqual({
      _type: 'https://in-toto.io/Statement/v1',
      subject: [{ name: `${world.target.host}/told:1`, digest: { sha256: digest.slice('sha256:'.length) } }],
      predicateType: 'urn:dray:receipt:v1',
      predicate: {
        mirror: buildId,
        source: { reference: `${world.source.host}/told:1`, digest },
        target: { reference: `${world.target.host}/told:1`, digest },
        selection: { referrers: 'all' },
        referrers: [{ digest: referrer.digest, subject: digest, artifactType: sbom.mediaType }],
        tenant: expect.stringMatching(/^key:key-[0-9a-f]{8}$/) as string,
        askedAt: mirror['createdAt'],
        startedAt: mirror['startedAt'],
        finishedAt: mirror['finishedAt'],
        verification: {
          level: 'blobs',
          manifests: held.length - blobs.length,
          blobs: blobs.length,
          bytes: blobs.reduce((sum, { size }) => sum + size, 0),
          foreignLayers: [],
        },
        by: expect.objectContaining({ name: 'dray' }) as object,
      },
    });
    const [key, ...others] = await keys();
    expect(others).toEqual([]);
    const der = createPublicKey(key?.pem ?? '').export({ type: 'spki', format: 'der' });
    expect([key?.kid, ...names(envelope)]).toEqual([hash('sha256', der), hash('sha256', der)]);
    expect(openssl(envelope, key?.pem ?? '')).toBe('Verified OK');
    const forged = { ...envelope, payload: Buffer.from('{}').toString('base64') };
    expect(openssl(forged, key?.pem ?? '')).toBe('Verification failure');
  });

  it('names no tag that was left to another image', async () => {
    const old = await push(world.source.url, 'moved', '1', manifestOf([noiseLayer(++seed, 5000)]));
    await push(world.source.url, 'moved', '1', manifestOf([noiseLayer(++seed, 5000)]));
    await mirrored(world, `${world.source.host}/moved:1`);
    const buildId = await mirrored(world, `${world.source.host}/moved:1@${old.digest}`);
    const [subject] = stated(await receiptOf(world, buildId)).subject;
    expect(subject?.name).toBe(`${world.target.host}/moved@${old.digest}`);
  });

  it('is for who has asked, and is printed by the command line, checked or as it is', async () => {
    await push(world.source.url, 'mine', '1', manifestOf([noiseLayer(++seed, 5000)]));
    const { requestId } = (await world.submit(`${world.source.host}/mine:1`)).body;
    const { mirrorId } = await world.finished(requestId);
    const buildId = mirrorId ?? '';
    const { body: stranger } = await world.call<{ key: string }>('POST', '/v1/keys', { name: 'x' }, admin());
    const path = `/v1/mirrors/${buildId}/receipt`;
    const theirs = { authorization: `Bearer ${stranger.key}` };
    expect((await world.call('GET', path, undefined, theirs)).status).toBe(403);
    expect((await world.call('GET', path)).status).toBe(401);
    const answer = await world.call<Envelope>('GET', path, undefined, admin());
    expect(answer.headers.get('content-type')).toContain('application/vnd.dsse.envelope.v1+json');
    const env = { DRAY_API_KEY: world.service.key };
    const printed = await runDray(['receipt', requestId, '--url', world.service.url], { env });
    expect(JSON.parse(printed.stdout)).toEqual(answer.body);
    const readable = await runDray(['receipt', buildId, '--statement', '--url', world.service.url], { env });
    expect(JSON.parse(readable.stdout)).toEqual(stated(answer.body));
  });

  it('is there for no mirror that is not done', async () => {
    const { body } = await world.submit(`${world.source.host}/mine:1`, `${world.target.host}/dry`, {
      dryRun: true,
    });
    const none = await world.call<{ message: string }>(
      'GET',
      `/v1/mirrors/${body.requestId}/receipt`,
      undefined,
      admin(),
    );
    expect([none.status, none.body.message]).toEqual([404, expect.stringContaining('has no mirror')]);
    const gate = await startGate(world.source.host);
    await push(world.source.url, 'held', '1', manifestOf([noiseLayer(++seed, 5000)]));
    const rule = gate.add(/^GET \/v2\/held\/blobs\//, { kind: 'hold' });
    const copy = await world.submit(`${gate.host}/held:1`);
    await rule.met;
    const early = await world.call<{ message: string }>(
      'GET',
      `/v1/mirrors/${copy.body.buildId}/receipt`,
      undefined,
      admin(),
    );
    expect([early.status, early.body.message]).toEqual([404, expect.stringContaining('it is copying')]);
    await world.call('POST', `/v1/mirrors/${copy.body.buildId}/cancel`, undefined, admin());
    const late = await world.call('GET', `/v1/mirrors/${copy.body.buildId}/receipt`, undefined, admin());
    expect(late.status).toBe(404);
    rule.release();
    await gate.stop();
  });
});

describe('the key of receipts', () => {
  const fresh = async () => {
    const path = `key/${++seed}`;
    await push(world.source.url, path, '1', manifestOf([noiseLayer(seed, 5000)]));
    return receiptOf(world, await mirrored(world, `${world.source.host}/${path}:1`));
  };
  const pemOf = async (envelope: Envelope) =>
    (await keys()).find(({ kid }) => kid === names(envelope)[0])?.pem ?? '';

  it('is rotated by administrators alone, and what was signed before can still be checked', async () => {
    const before = await fresh();
    const { body: user } = await world.call<{ key: string }>('POST', '/v1/keys', { name: 'u' }, admin());
    const refused = await world.call('POST', '/v1/receipt-keys', undefined, {
      authorization: `Bearer ${user.key}`,
    });
    expect(refused.status).toBe(403);
    const { status, body: next } = await world.call<ReceiptKey>(
      'POST',
      '/v1/receipt-keys',
      undefined,
      admin(),
    );
    expect(status).toBe(201);
    const after = await fresh();
    expect(names(after)).toEqual([next.kid]);
    expect(names(before)).not.toEqual(names(after));
    expect((await keys()).map(({ kid, retiredAt }) => [kid, retiredAt !== undefined])).toEqual([
      [next.kid, false],
      [names(before)[0], true],
    ]);
    for (const each of [before, after]) expect(openssl(each, await pemOf(each))).toBe('Verified OK');
    const env = { DRAY_API_KEY: world.service.key };
    const printed = await runDray(['receipt-keys', '--rotate', '--url', world.service.url], { env });
    const published = await keys();
    expect(printed.stdout.replace(/^# .*\n/gm, '')).toBe(published.map(({ pem }) => pem).join(''));
    expect(printed.stdout.match(/(?<=^# )[0-9a-f]{64}/gm)).toEqual(published.map(({ kid }) => kid));
    expect((await keys()).length).toBe(3);
  });

  it('is replaced at the start after the master key was lost, with a warning', async () => {
    const before = await fresh();
    await world.service.stop();
    await rm(join(world.dataDir, 'secret-key'));
    await world.restart();
    expect(world.service.output()).toContain('does not open the key that receipts are signed with');
    const after = await fresh();
    expect(names(after)).not.toEqual(names(before));
    for (const each of [before, after]) expect(openssl(each, await pemOf(each))).toBe('Verified OK');
    await world.service.stop();
    await world.restart();
    expect(world.service.output()).not.toContain('does not open');
    expect(names(await fresh())).toEqual(names(after));
  });
});

it('kill -9 while its receipt is written leaves a mirror that goes on', { timeout: 120_000 }, async () => {
  const postgres = await startPostgres();
  const other = await createWorld({ settings: 'freshness: 0\n', env: { DRAY_DATABASE_URL: postgres.url } });
  const client = new Client({ connectionString: postgres.url });
  await client.connect();
  try {
    // Whoever writes a receipt waits for a lock that this test has.
    await client.query(`select pg_advisory_lock(42);
      create function wait_for_test() returns trigger language plpgsql as
        $$ begin perform pg_advisory_xact_lock(42); return new; end $$;
      create trigger held before insert on receipts for each row execute function wait_for_test()`);
    await push(other.source.url, 'held', '1', manifestOf([noiseLayer(++seed, 5000)]));
    const { body } = await other.submit(`${other.source.host}/held:1`);
    const waiting = `select pid from pg_locks where locktype = 'advisory' and objid = 42 and not granted`;
    while ((await client.query(waiting)).rows.length === 0) await sleep(20);
    await other.service.stop('SIGKILL');
    // A server goes on with a statement whose client has gone; one that crashes does not.
    await client.query(`select pg_terminate_backend(pid) from (${waiting}) as writers`);
    while ((await client.query(waiting)).rows.length > 0) await sleep(20);
    const left = `select state, (select count(*)::int from receipts) as receipts from mirrors`;
    expect((await client.query(left)).rows).toEqual([{ state: 'copying', receipts: 0 }]);
    await client.query('drop trigger held on receipts');
    await other.restart();
    expect(await other.finished(body.requestId)).toMatchObject({ succeeded: true });
    expect((await client.query(left)).rows).toEqual([{ state: 'done', receipts: 1 }]);
    expect(stated(await receiptOf(other, body.buildId ?? '')).subject[0]?.name).toBe(body.targetImage);
  } finally {
    await client.end();
    await other.stop();
    await postgres.stop();
  }
});

/** Keeps a referrer where a registry without a list of its own has it: in an index under a tag. */
async function listUnderTag(
  url: string,
  path: string,
  digest: string,
  { mediaType, digest: name, bytes }: { mediaType: string; digest: string; bytes: Uint8Array },
): Promise<void> {
  const index = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [{ mediaType, digest: name, size: bytes.length, artifactType: 'application/spdx+json' }],
  };
  const put = await fetch(`${url}/v2/${path}/manifests/${digest.replace(':', '-')}`, {
    method: 'PUT',
    headers: { 'content-type': index.mediaType },
    body: JSON.stringify(index),
  });
  expect(put.status).toBe(201);
}
