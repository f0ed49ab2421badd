import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
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
import { answer, forward, startStandIn } from '../fixtures/stand-in.ts';
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

    const at = (
      registry: Pick<TestRegistry, 'host'>,
      path: string,
      more: Partial<Endpoint> = {},
    ): Endpoint => ({
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
      stallLimit: 60,
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
      const nowhere = at({ host: `127.0.0.1:${await freePort()}` }, 'x');
      const unnamed = at({ host: 'registry.invalid:5000' }, 'x');
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
      expect((await run(copy(0.05))).error).toMatchObject({
        code: 'time_limit',
        retryable: false,
        message: expect.stringContaining('finished no layer') as string,
      });
    });

    it('may be tried again when its time is over and it has finished a layer', async () => {
      const image = await push(source.url, 'halves', undefined, amd64(5000, 6000));
      const hangs = image.children[2]?.digest ?? '';
      const slow = await startStandIn((seen, response) =>
        seen.path.endsWith(hangs) ? undefined : forward(source.url)(seen, response),
      );
      const { error } = await run(
        job(image.digest, at(slow, 'halves'), at(target, `halves/${++seed}`), 2),
      ).finally(() => slow.stop());
      expect(error).toMatchObject({ code: 'time_limit', retryable: true });
      expect(error?.message).toContain('is not moved again');
    });

    it.each<['source' | 'target', string, string]>([
      ['source', 'GET', '/manifests/'],
      ['source', 'GET', '/blobs/'],
      ['target', 'HEAD', '/blobs/'],
      ['target', 'POST', '/uploads/'],
      ['target', 'PUT', '/uploads/'],
    ])('does not wait when the %s throttles %s %s', async (side, method, path) => {
      const image = await push(source.url, 'throttled', undefined, amd64(5000));
      const behind = forward({ source, target }[side].url);
      let at429 = Infinity;
      const front = await startStandIn((seen, response) => {
        if (seen.method !== method || !seen.path.includes(path)) return behind(seen, response);
        at429 = Math.min(at429, performance.now());
        // Longer than Skopeo would wait.
        return answer(response, 429, '', { 'retry-after': '90' });
      });
      const fresh = `throttled/${++seed}`;
      const ends =
        side === 'source'
          ? ([at(front, 'throttled'), at(target, fresh)] as const)
          : ([at(source, 'throttled'), at(front, fresh)] as const);
      const { error } = await run(job(image.digest, ...ends)).finally(() => front.stop());
      expect(error).toMatchObject({ code: 'rate_limited', side, retryAfter: 90, retryable: true });
      expect(performance.now() - at429).toBeLessThan(1000);
      expect(commandLines().filter((line) => line.includes(fresh))).toEqual([]);
    });

    it('makes up no wait where a registry that throttles names none', async () => {
      const image = await push(source.url, 'throttled', undefined, amd64(5000));
      const front = await startStandIn((_, response) => answer(response, 429));
      const { error } = await run(job(image.digest, at(source, 'throttled'), at(front, 'throttled'))).finally(
        () => front.stop(),
      );
      expect(error).toMatchObject({ code: 'rate_limited', side: 'target' });
      expect(error?.retryAfter).toBeUndefined();
    });

    it('stops when an end no longer answers, and names it where that is certain', async () => {
      const image = await push(source.url, 'stalled', undefined, amd64(5000));
      const stages: ['source' | 'target', string, string, ('source' | 'target')?][] = [
        ['source', 'GET', '/v2/', 'source'],
        ['source', 'GET', '/manifests/', 'source'],
        ['source', 'GET', '/blobs/'],
        ['target', 'HEAD', '/blobs/'],
        ['target', 'PATCH', '/uploads/'],
        ['target', 'PUT', '/manifests/', 'target'],
      ];
      const failures = await Promise.all(
        stages.map(async ([side, method, path]) => {
          const behind = forward({ source, target }[side].url);
          let silent = false;
          const front = await startStandIn((seen, response) => {
            silent ||= seen.method === method && seen.path.includes(path);
            return silent ? undefined : behind(seen, response);
          });
          const from = at(side === 'source' ? front : source, 'stalled');
          const to = at(side === 'target' ? front : target, `stalled/${++seed}`);
          const copy = { ...job(image.digest, from, to), stallLimit: 2 };
          const ended = create().run(copy, () => undefined, new AbortController().signal);
          const failure = await ended.then(
            () => undefined,
            (error: unknown) => error as MirrorError,
          );
          await front.stop();
          return [side, method, path, failure?.code, failure?.message.includes('for 2 s'), failure?.side];
        }),
      );
      expect(failures).toEqual(
        stages.map(([side, method, path, named]) => [side, method, path, 'timeout', true, named]),
      );
      expect(leftovers()).toEqual([]);
    });

    it('lets a copy go on that is slow and moves', async () => {
      const image = await push(source.url, 'slow', undefined, amd64(5000));
      const slow = await startStandIn(async (seen, response) => {
        const layer = image.contents.get(seen.path.split('/').at(-1) ?? '');
        if (seen.method !== 'GET' || !layer || 'children' in layer)
          return forward(source.url)(seen, response);
        response.writeHead(200, { 'content-length': layer.bytes.length });
        const pieces = 6;
        const size = Math.ceil(layer.bytes.length / pieces);
        for (let n = 0; n < pieces; n++) {
          response.write(layer.bytes.subarray(n * size, (n + 1) * size));
          await sleep(500);
        }
        response.end();
      });
      const copy = job(image.digest, at(slow, 'slow'), at(target, `slow/${++seed}`));
      const { error } = await run({ ...copy, stallLimit: 2 }).finally(() => slow.stop());
      expect(error).toBeUndefined();
    });
  });
}

/** Of all processes. */
function commandLines(): string[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^[0-9]+$/.test(name)) return [];
    try {
      return [readFileSync(`/proc/${name}/cmdline`, 'utf8')];
    } catch {
      // Gone between the two calls.
      return [];
    }
  });
}

/** Samples the command lines of all processes until the returned function is called. */
function watchCommandLines(): () => string[] {
  const seen = new Set<string>();
  const timer = setInterval(() => commandLines().forEach((line) => seen.add(line)), 5);
  return () => {
    clearInterval(timer);
    return [...seen];
  };
}
