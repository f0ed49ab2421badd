import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { platformsIndex, push } from '../fixtures/image.ts';
import { type Envelope, type ReceiptKey, stated } from '../fixtures/receipts.ts';
import { startRegistry, type TestRegistry } from '../fixtures/registry.ts';
import { findCommand } from './clients.ts';
import { type Peer, startOlareg } from './registries.ts';
import { key, settled, startDray, submit } from './service.ts';

const run = promisify(execFile);
const { go, olareg } = inject('tools');
const cosign = findCommand('cosign');
/** The shell commands of the page, in order. */
const recipes = [
  ...(await readFile(new URL('../../docs/receipts.md', import.meta.url), 'utf8')).matchAll(
    /^```sh\n([^]*?)^```$/gm,
  ),
].map(([, text = '']) => text);

describe('receipts', () => {
  let source: TestRegistry;
  let target: Peer;
  let service: Awaited<ReturnType<typeof startDray>>;
  let envelope: Envelope;
  let signer: ReceiptKey | undefined;
  let digest: string;
  beforeAll(async () => {
    [source, target, service] = await Promise.all([
      startRegistry(),
      olareg ? startOlareg(olareg) : startRegistry(),
      startDray({ receipts: { push: true } }),
    ]);
    ({ digest } = await push(source.url, 'lib/a', 'v1', platformsIndex(1)));
    const { buildId } = await submit(service.url, `${source.host}/lib/a:v1`, target.host);
    expect((await settled(service.url, buildId)).last.state).toBe('done');
    const answer = await fetch(`${service.url}/v1/mirrors/${buildId}/receipt`, {
      headers: { authorization: `Bearer ${key}` },
    });
    envelope = (await answer.json()) as Envelope;
    const published = await fetch(`${service.url}/.well-known/dray-receipt-keys.json`);
    [signer] = ((await published.json()) as { keys: ReceiptKey[] }).keys;
    await Promise.all([
      writeFile(join(service.folder, 'receipt.json'), JSON.stringify(envelope)),
      writeFile(join(service.folder, 'signer.pem'), signer?.pem ?? ''),
    ]);
  });
  afterAll(() => Promise.all([service.end(), source.stop(), target.stop()]));

  it.skipIf(!findCommand('jq') || !findCommand('curl'))(
    'are checked with openssl by the commands of docs/receipts.md',
    async () => {
      const { stdout } = await run('bash', ['-euc', recipes[0] ?? ''], {
        cwd: service.folder,
        env: { PATH: process.env['PATH'], DRAY_URL: service.url },
      });
      expect(stdout).toBe('Verified OK\n');
    },
  );

  it.skipIf(!go)("are checked with Go's library of in-toto, which finds every change", async () => {
    const check = (changed: Envelope) => {
      const checking = run(go?.dsse ?? '', [join(service.folder, 'signer.pem'), signer?.kid ?? '']);
      checking.child.stdin?.end(JSON.stringify(changed));
      return checking;
    };
    const { stdout } = await check(envelope);
    expect(JSON.parse(stdout)).toEqual(stated(envelope));
    const other = Buffer.from(JSON.stringify({ ...stated(envelope), subject: [] })).toString('base64');
    await expect(check({ ...envelope, payload: other })).rejects.toThrow(/do not match threshold/);
    await expect(check({ ...envelope, payloadType: 'application/json' })).rejects.toThrow(/threshold/);
  });

  it.skipIf(!olareg)("are in the registry's own list of what refers to the image", async () => {
    const answer = await fetch(`${target.url}/v2/lib/a/referrers/${digest}`);
    const { manifests } = (await answer.json()) as { manifests: { artifactType: string; digest: string }[] };
    expect(manifests.map(({ artifactType }) => artifactType)).toEqual([
      'application/vnd.dray.receipt.v1+json',
    ]);
    const fallback = await fetch(`${target.url}/v2/lib/a/manifests/${digest.replace(':', '-')}`);
    expect(fallback.status).toBe(404);
  });

  it.skipIf(!cosign)('are checked with cosign by the commands of docs/receipts.md', async () => {
    const manifest = await fetch(`${target.url}/v2/lib/a/manifests/${digest}`, {
      headers: { accept: 'application/vnd.oci.image.index.v1+json' },
    });
    await writeFile(join(service.folder, 'manifest.json'), Buffer.from(await manifest.arrayBuffer()));
    const command = (recipes[1] ?? '').replace(/^crane .*\n/, '').replace('key.pem', 'signer.pem');
    const { stderr } = await run('bash', ['-euc', command], {
      cwd: service.folder,
      env: { PATH: process.env['PATH'], HOME: service.folder },
    });
    expect(stderr).toContain('Verified OK');
  });
});
