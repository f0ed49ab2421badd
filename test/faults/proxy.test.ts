import { afterEach, beforeAll, afterAll, describe, expect, it } from 'vitest';
import { manifestOf, noiseLayer, push, pushBlob, type Pushed, sha256 } from '../fixtures/image.ts';
import { startRegistry, type TestRegistry } from '../fixtures/registry.ts';
import type { CallKind } from './calls.ts';
import type { Fault } from './fault.ts';
import { type FaultProxy, startFaultProxy } from './proxy.ts';

let registry: TestRegistry;
let image: Pushed;
let proxy: FaultProxy;
beforeAll(async () => {
  registry = await startRegistry();
  image = await push(registry.url, 'a/b', '1', manifestOf([noiseLayer(8001, 50_000)]));
  proxy = await startFaultProxy({ side: 'target', upstream: registry });
});
afterAll(async () => {
  await proxy.stop();
  await registry.stop();
});
afterEach(() => proxy.mend());

const layer = () => [...image.contents.values()].find(({ mediaType }) => mediaType.includes('layer'));
const add = (kind: CallKind, fault: Fault, more: { times?: number; skip?: number } = {}) =>
  proxy.add({ kinds: [kind], repository: 'a/b', skip: 0, times: 1, ...more, fault });
/** How many bytes came, whether they are the right ones, and how it ended. */
async function read(): Promise<{ status: number; bytes: number; right: boolean } | string> {
  try {
    const answer = await fetch(`http://${proxy.host}/v2/a/b/blobs/${layer()?.digest}`);
    const bytes = Buffer.from(await answer.arrayBuffer());
    return { status: answer.status, bytes: bytes.length, right: sha256(bytes) === layer()?.digest };
  } catch (error) {
    return (error as Error).message;
  }
}
const whole = () => ({ status: 200, bytes: layer()?.bytes.length, right: true });

describe('a fault in an answer', () => {
  it.each<[string, Fault, unknown]>([
    ['a reset before it', { kind: 'reset', at: 'arrival', hard: true }, 'fetch failed'],
    ['a reset in it', { kind: 'reset', at: 'answer', after: 1000, hard: false }, 'terminated'],
    ['a short one', { kind: 'truncate', after: 1000, length: 'short' }, 'terminated'],
    [
      'a short one in the right form',
      { kind: 'truncate', after: 1000, length: 'consistent' },
      { status: 200, bytes: 1000, right: false },
    ],
    ['a short one in chunks', { kind: 'truncate', after: 0, length: 'chunked' }, { bytes: 0, right: false }],
    ['a flipped bit', { kind: 'flip', where: 'answer', at: 777, bit: 1 }, { right: false }],
    ['a status', { kind: 'answer', status: 503, headers: {}, body: 'no' }, { status: 503, bytes: 2 }],
  ])('is shown once, and then it is over: %s', async (_, fault, expected) => {
    const rule = add('blob-get', fault);
    const seen = await read();
    if (typeof expected === 'string') expect(seen).toBe(expected);
    else expect(seen).toMatchObject(expected as object);
    expect(rule.hits).toBe(1);
    expect(await read()).toEqual(whole());
    expect(rule.hits).toBe(1);
  });

  it('is late, or slow, and whole', async () => {
    add('blob-get', { kind: 'latency', ms: 50 });
    expect(await read()).toEqual(whole());
    add('blob-get', { kind: 'drip', ms: 100 });
    expect(await read()).toEqual(whole());
  });

  it('stops until it is mended', async () => {
    add('blob-get', { kind: 'stall', after: 100 });
    const reading = read();
    await expect.poll(() => proxy.log.at(-1)).toContain('stall');
    await proxy.mend();
    expect(await reading).toBe('terminated');
  });

  it('meets the calls that it is about, after those that it spares', async () => {
    add('blob-get', { kind: 'answer', status: 500, headers: {}, body: '' }, { skip: 1, times: 2 });
    const seen = [await read(), await read(), await read(), await read()];
    expect(seen.map((one) => typeof one === 'object' && one.status)).toEqual([200, 500, 500, 200]);
  });

  it('is that what was there is not there the next time', async () => {
    const other = await startFaultProxy({ side: 'source', upstream: registry });
    try {
      other.add({ kinds: ['blob-get'], skip: 0, times: Infinity, fault: { kind: 'vanish' } });
      const url = `http://${other.host}/v2/a/b/blobs/${layer()?.digest}`;
      const seen = [await fetch(url), await fetch(url), await fetch(url)];
      expect(seen.map(({ status }) => status)).toEqual([200, 404, 404]);
    } finally {
      await other.stop();
    }
  });
});

describe('a fault of the registry', () => {
  const blob = (n: number) => noiseLayer(8100 + n, 3000);
  const has = async (digest: string) =>
    (await fetch(`${registry.url}/v2/a/b/blobs/${digest}`, { method: 'HEAD' })).status;

  it('is that it says it has stored something, and has not', async () => {
    const rule = add('upload-put', { kind: 'forget', what: 'never-stored' });
    await pushBlob(`http://${proxy.host}`, 'a/b', blob(1));
    expect(rule.hits).toBe(1);
    expect(await has(blob(1).digest)).toBe(404);
    await pushBlob(`http://${proxy.host}`, 'a/b', blob(1));
    expect(await has(blob(1).digest)).toBe(200);
  });

  it('is that it loses what it has stored', async () => {
    add('upload-put', { kind: 'forget', what: 'itself' });
    await pushBlob(`http://${proxy.host}`, 'a/b', blob(2));
    expect(await has(blob(2).digest)).toBe(404);
  });

  it('is that it does the work, and its answer is lost', async () => {
    add('upload-put', { kind: 'reset', at: 'lost', hard: true });
    await expect(pushBlob(`http://${proxy.host}`, 'a/b', blob(3))).rejects.toThrow('fetch failed');
    expect(await has(blob(3).digest)).toBe(200);
  });

  it('is that it restarts: it refuses connections, and is back with what it had', async () => {
    add('blob-get', { kind: 'restart', ms: 0 });
    expect(await read()).toBe('fetch failed');
    await proxy.mend();
    expect(await read()).toEqual(whole());
  });
});

it('a registry with tokens takes none that has ended, and gives a new one', async () => {
  const guarded = await startFaultProxy({
    side: 'source',
    upstream: registry,
    tokens: { uses: 2, ms: Infinity },
  });
  try {
    const url = `http://${guarded.host}`;
    const { login } = guarded;
    const authorization = `Basic ${Buffer.from(`${login?.username}:${login?.password}`).toString('base64')}`;
    const token = async () => {
      const answer = await fetch(`${url}/token?scope=repository:a/b:pull`, { headers: { authorization } });
      return ((await answer.json()) as { token: string }).token;
    };
    const look = async (bearer: string) =>
      fetch(`${url}/v2/a/b/tags/list`, { headers: { authorization: `Bearer ${bearer}` } });
    expect((await fetch(`${url}/v2/`)).headers.get('www-authenticate')).toContain(`realm="${url}/token"`);
    const first = await token();
    expect([(await look(first)).status, (await look(first)).status]).toEqual([200, 200]);
    expect((await look(first)).status).toBe(401);
    expect(login?.expired()).toBe(1);
    expect((await look(await token())).status).toBe(200);
  } finally {
    await guarded.stop();
  }
});
