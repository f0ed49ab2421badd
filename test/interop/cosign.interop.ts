import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { Listing } from '../fixtures/forest.ts';
import { eightPlatforms, platformsIndex, push } from '../fixtures/image.ts';
import { startRegistry } from '../fixtures/registry.ts';
import { newSecret } from '../fixtures/secrets.ts';
import { type Peer, startOlareg, startReferrers } from './registries.ts';
import { settled, startDray, submit } from './service.ts';

const run = promisify(execFile);
const { cosign, go, olareg } = inject('tools');

/** How cosign 3 keeps signatures: what it takes to sign so, and to look there. */
const forms: [string, { sign: string[]; verify: string[]; env?: Record<string, string> }][] = [
  ["under cosign's tag", { sign: ['--new-bundle-format=false'], verify: ['--new-bundle-format=false'] }],
  [
    'as an OCI 1.1 referrer',
    {
      sign: ['--new-bundle-format=false', '--registry-referrers-mode=oci-1-1'],
      verify: ['--new-bundle-format=false', '--experimental-oci11'],
      env: { COSIGN_EXPERIMENTAL: '1' },
    },
  ],
  ['in a bundle', { sign: [], verify: [] }],
];

const starts: Record<Listing, (() => Promise<Peer>) | undefined> = {
  fallback: startRegistry,
  api: olareg ? () => startOlareg(olareg) : go && (() => startReferrers(go.referrers)),
};
const listings = (['api', 'fallback'] as const).filter((listing) => starts[listing]);
const pairs = listings.flatMap((from) => listings.map((to) => ({ from, to })));

describe.skipIf(!cosign)('an image that cosign has signed', () => {
  let service: Awaited<ReturnType<typeof startDray>>;
  const password = newSecret('password of a cosign key');
  beforeAll(async () => {
    service = await startDray({ freshness: 0 });
    for (const name of ['cosign', 'other']) await call(['generate-key-pair', '--output-key-prefix', name]);
  });
  afterAll(() => service.end());

  const call = (args: string[], env: Record<string, string> = {}) =>
    run(cosign ?? '', args, {
      cwd: service.folder,
      env: { PATH: process.env['PATH'], HOME: service.folder, COSIGN_PASSWORD: password, ...env },
    });

  it.each(pairs.flatMap((pair) => forms.map(([form, how]) => ({ ...pair, form, how }))))(
    '$form checks at the target alone, from $from to $to',
    async ({ from, to, how }) => {
      const [source, target] = (await Promise.all([starts[from]?.(), starts[to]?.()])) as [Peer, Peer];
      try {
        const index = platformsIndex(1, { platforms: eightPlatforms.slice(0, 2) });
        const { digest } = await push(source.url, 'lib/a', 'v1', index);
        const name = (peer: Peer, of = digest) => `${peer.host}/lib/a@${of}`;
        const key = ['--key', join(service.folder, 'cosign.key'), '--yes', '--allow-http-registry'];
        // No transparency log: nothing leaves this machine.
        const alone = ['--use-signing-config=false', '--tlog-upload=false'];
        await call(['sign', ...key, ...alone, '--recursive', ...how.sign, name(source)], how.env);
        const { buildId } = await submit(service.url, `${source.host}/lib/a:v1`, target.host);
        expect((await settled(service.url, buildId)).last).toMatchObject({ state: 'done' });
        await source.stop();
        const pub = ['--key', 'cosign.pub', '--insecure-ignore-tlog', '--allow-http-registry'];
        for (const signed of [digest, ...index.children.map((child) => child.digest)]) {
          const { stderr } = await call(['verify', ...pub, ...how.verify, name(target, signed)], how.env);
          expect(stderr).toContain('The signatures were verified against the specified public key');
        }
        // Another key is not taken for it: cosign does look.
        const other = ['--key', 'other.pub', ...pub.slice(2)];
        await expect(call(['verify', ...other, ...how.verify, name(target)], how.env)).rejects.toThrow(
          /signature/,
        );
      } finally {
        await Promise.all([source.stop(), target.stop()]);
      }
    },
  );
});
