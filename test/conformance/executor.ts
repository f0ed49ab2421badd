import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Digest } from '../../src/core/digest.ts';
import type { MirrorError } from '../../src/core/errors.ts';
import type { CopyEvent, CopyJob, Endpoint, Executor } from '../../src/executor/executor.ts';
import { keepEvidence } from '../fixtures/evidence.ts';
import {
  attestationOf,
  docker,
  eightPlatforms,
  indexOf,
  type Manifest,
  manifestOf,
  noiseLayer,
  platformsIndex,
  push,
} from '../fixtures/image.ts';
import {
  adminBasic,
  adminHtpasswd,
  adminLogin,
  freePort,
  startRegistry,
  type TestRegistry,
} from '../fixtures/registry.ts';
import { newSecret } from '../fixtures/secrets.ts';
import { fetchTree } from '../fixtures/tree.ts';

/** What every executor must do. `leftovers` names what it has not cleaned up. */
export function describeExecutor(name: string, create: () => Executor, leftovers: () => string[]): void {
  describe(`${name} executor`, () => {
    let source: TestRegistry;
    let target: TestRegistry;
    let locked: TestRegistry;
    let seed = 0;
    beforeAll(async () => {
      [source, target, locked] = await Promise.all([
        startRegistry(),
        startRegistry(),
        startRegistry({ htpasswd: adminHtpasswd }),
      ]);
    });
    afterAll(() => Promise.all([source, target, locked].map((registry) => registry.stop())));

    const at = (registry: TestRegistry, path: string, more: Partial<Endpoint> = {}): Endpoint => ({
      registry: registry.host,
      path,
      insecure: true,
      ...more,
    });
    const job = (digest: string, from: Endpoint, to: Endpoint, timeLimit = 60): CopyJob => ({
      id: `mr-${randomBytes(16).toString('hex')}`,
      digest: digest as Digest,
      source: from,
      target: to,
      timeLimit,
    });
    async function run(copy: CopyJob, signal = new AbortController().signal) {
      const events: CopyEvent[] = [];
      const error = await create()
        .run(copy, (event) => events.push(event), signal)
        .then(
          () => undefined,
          (reason: unknown) => reason as MirrorError,
        );
      expect(leftovers()).toEqual([]);
      // Both go on record and to the caller.
      keepEvidence('logs', 'executor', JSON.stringify([events, error, error?.message]));
      return { events, error };
    }

    const amd64 = (...sizes: number[]) => manifestOf(sizes.map((size) => noiseLayer(++seed, size)));
    const images: [string, () => Manifest][] = [
      ['a single manifest', () => amd64(10_000, 20_000)],
      ['a Docker manifest', () => manifestOf([noiseLayer(++seed, 9000, docker)], { types: docker })],
      ['an index of eight platforms', () => platformsIndex(++seed, { platforms: eightPlatforms })],
      [
        'a Docker list',
        () => platformsIndex(++seed, { types: docker, platforms: eightPlatforms.slice(0, 3) }),
      ],
      [
        'an index with attestations',
        () => {
          const image = amd64(5000);
          return indexOf([image, attestationOf(image, ++seed)]);
        },
      ],
    ];
    it.each(images)('copies %s byte for byte and reports every layer once', async (_, make) => {
      const image = await push(source.url, `copy/${++seed}`, undefined, make());
      const path = image.repository.split('/').slice(1).join('/');
      const { events, error } = await run(job(image.digest, at(source, path), at(target, path)));
      expect(error).toBeUndefined();
      const want = await fetchTree(source.url, path, image.digest);
      expect(await fetchTree(target.url, path, image.digest)).toEqual(want);
      const settled = events.flatMap((event) =>
        event.type === 'blob' && event.state !== 'started' ? [event] : [],
      );
      const blobs = want.filter(({ mediaType }) => mediaType === 'blob').map(({ digest }) => digest);
      expect(new Set(settled.map(({ digest }) => digest))).toEqual(new Set(blobs));
      expect(events.at(-1)).toEqual({ type: 'exit', code: 0 });
    });

    it('tells blobs that the target has, or can mount, from those that it moves', async () => {
      const image = await push(source.url, 'again', undefined, amd64(30_000));
      const layer = image.children[1]?.digest;
      const states = async (path: string) => {
        const { events } = await run(job(image.digest, at(source, 'again'), at(target, path)));
        return events.flatMap((event) =>
          event.type === 'blob' && event.digest === layer ? [event.state] : [],
        );
      };
      expect(await states('again')).toEqual(['started', 'done']);
      expect(await states('again')).toEqual(['skipped']);
      expect(await states('elsewhere')).toEqual(['mounted']);
    });

    it('logs in where it has a credential, and shows it to nobody', async () => {
      const image = await push(locked.url, 'private', undefined, amd64(2_000_000), adminBasic);
      const seen = watchCommandLines();
      const { error, events } = await run(
        job(image.digest, at(locked, 'private', { credential: adminLogin }), at(target, 'private')),
      );
      expect(error).toBeUndefined();
      const lines = seen();
      expect(lines.some((line) => line.includes('skopeo'))).toBe(true);
      const { username, password } = adminLogin;
      const secrets = [password, Buffer.from(`${username}:${password}`).toString('base64')];
      for (const secret of secrets) {
        expect(lines.filter((line) => line.includes(secret))).toEqual([]);
        expect(JSON.stringify(events)).not.toContain(secret);
      }
    });

    it('names what failed and on which side', async () => {
      const image = await push(source.url, 'faults', undefined, amd64(5000));
      const secret = await push(locked.url, 'faults', undefined, amd64(5000), adminBasic);
      const nowhere = at({ host: `127.0.0.1:${await freePort()}` } as TestRegistry, 'x');
      const unnamed = at({ host: 'registry.invalid:5000' } as TestRegistry, 'x');
      const wrong = { credential: { username: 'admin', password: newSecret('wrong password') } };
      const cases: [string, CopyJob, string, string][] = [
        [
          'missing',
          job(`sha256:${'0'.repeat(64)}`, at(source, 'faults'), at(target, 'f')),
          'manifest_unknown',
          'source',
        ],
        ['closed source', job(image.digest, nowhere, at(target, 'f')), 'refused', 'source'],
        ['closed target', job(image.digest, at(source, 'faults'), nowhere), 'refused', 'target'],
        ['unknown source', job(image.digest, unnamed, at(target, 'f')), 'dns', 'source'],
        ['unknown target', job(image.digest, at(source, 'faults'), unnamed), 'dns', 'target'],
        ['no login', job(secret.digest, at(locked, 'faults'), at(target, 'f')), 'login_required', 'source'],
        [
          'wrong login',
          job(secret.digest, at(locked, 'faults', wrong), at(target, 'f')),
          'credentials_rejected',
          'source',
        ],
        [
          'no login at target',
          job(image.digest, at(source, 'faults'), at(locked, 'f')),
          'login_required',
          'target',
        ],
        [
          'no TLS',
          job(image.digest, at(source, 'faults', { insecure: false }), at(target, 'f')),
          'tls',
          'source',
        ],
      ];
      for (const [what, copy, code, side] of cases) {
        const { error } = await run(copy);
        expect({ what, code: error?.code, side: error?.side }, error?.message).toEqual({ what, code, side });
      }
    });

    it('says which blob is missing at the source', async () => {
      const image = await push(source.url, 'holes', undefined, amd64(5000, 6000));
      const gone = image.children[1]?.digest ?? '';
      const removed = await fetch(`${source.url}/v2/holes/blobs/${gone}`, { method: 'DELETE' });
      expect(removed.status).toBe(202);
      const { error } = await run(job(image.digest, at(source, 'holes'), at(target, 'holes')));
      expect(error).toMatchObject({ code: 'blob_unknown', side: 'source' });
      expect(error?.message).toContain(gone);
    });

    it('stops when it is told to, and when its time is over, and leaves nothing', async () => {
      const image = await push(source.url, 'long', undefined, amd64(60_000_000));
      const copy = (timeLimit?: number) =>
        job(image.digest, at(source, 'long'), at(target, `long/${++seed}`), timeLimit);
      const stop = new AbortController();
      const first = copy();
      const running = create().run(first, (event) => event.type === 'blob' && stop.abort(), stop.signal);
      await expect(running).rejects.toMatchObject({ code: 'cancelled' });
      expect(leftovers()).toEqual([]);
      expect((await run(copy(), AbortSignal.abort())).error).toMatchObject({ code: 'cancelled' });
      expect((await run(copy(0.05))).error).toMatchObject({ code: 'time_limit' });
    });
  });
}

/** Samples the command lines of all processes until the returned function is called. */
function watchCommandLines(): () => string[] {
  const seen = new Set<string>();
  const timer = setInterval(() => {
    for (const name of readdirSync('/proc')) {
      if (!/^[0-9]+$/.test(name)) continue;
      try {
        seen.add(readFileSync(`/proc/${name}/cmdline`, 'utf8'));
      } catch {
        // Gone between the two calls.
      }
    }
  }, 5);
  return () => {
    clearInterval(timer);
    return [...seen];
  };
}
