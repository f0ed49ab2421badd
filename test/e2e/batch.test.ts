import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { manifestOf, noiseLayer, platformsIndex, push } from '../fixtures/image.ts';
import { createWorld, type World } from '../fixtures/world.ts';

interface Outcome {
  image: string;
  to: string;
  requestId?: string;
  mirrorId?: string;
  target?: string;
  digest?: string;
  cached?: boolean;
  error?: { code: string };
}
interface Body {
  outcomes: Outcome[];
  message?: string;
  code?: string;
}
interface View {
  id: string;
  source: string;
  state: string;
  platforms?: string[];
  referrers: unknown;
  arrival?: unknown;
}

let world: World;
let gate: Gate;
beforeAll(async () => {
  world = await createWorld({
    settings: `
submitBudget: 1
freshness: 0
limits:
  submit: {perCaller: 5, perAddress: 0}
`,
  });
  gate = await startGate(world.source.host);
});
afterAll(async () => {
  await gate.stop();
  await world.stop();
});

let seed = 7000;
const stock = (path: string) => push(world.source.url, path, '1', manifestOf([noiseLayer(++seed, 4000)]));
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });
const ask = (body: unknown, key = world.service.key) =>
  world.call<Body>('POST', '/v1/mirrors', body, bearer(key));
const mirrorOf = async (id = '') =>
  (await world.call<View>('GET', `/v1/mirrors/${id}`, undefined, bearer(world.service.key))).body;
const list = async (query: string) =>
  (
    await world.call<{ mirrors: View[] }>(
      ...(['GET', `/v1/mirrors?${query}`, undefined, bearer(world.service.key)] as const),
    )
  ).body.mirrors;

async function ended(id: string | undefined): Promise<string> {
  for (;;) {
    const { state } = await mirrorOf(id);
    if (state !== 'queued' && state !== 'copying') return state;
    await sleep(50);
  }
}

describe('POST /v1/mirrors', () => {
  it('answers for each image at each target, and no failure is another’s', async () => {
    const from = world.source.host;
    const pushed = await Promise.all(['mixed/there', 'mixed/new'].map(stock));
    const { body: first } = await ask({ images: [`${from}/mixed/there:1`], to: `${world.target.host}/a` });
    await ended(first.outcomes[0]?.mirrorId);

    const images = [`${from}/mixed/there:1`, `${from}/mixed/new:1`, 'Wrong', `${from}/mixed/none:1`];
    const targets = [`${world.target.host}/a`, `${world.target.host}/b`, `${from}/c`, 'nowhere'];
    const { status, body } = await ask({ images, to: targets });
    expect(status).toBe(200);
    const outcomes = body.outcomes;
    expect(outcomes.map(({ image, to }) => [image, to])).toEqual(
      images.flatMap((image) => targets.map((to) => [image, to])),
    );
    expect(outcomes.map(({ cached, error }) => error?.code ?? cached)).toEqual([
      ...[true, false, 'same_registry', 'invalid_request'],
      ...[false, false, 'same_registry', 'invalid_request'],
      ...Array<string>(4).fill('invalid_reference'),
      ...['manifest_unknown', 'manifest_unknown', 'same_registry', 'invalid_request'],
    ]);
    expect(outcomes[4]).toMatchObject({
      target: `${world.target.host}/a/mixed/new:1`,
      digest: pushed[1]?.digest,
      mirrorId: expect.stringMatching(/^mr-[0-9a-f]{32}$/) as string,
      requestId: expect.any(String) as string,
    });
    expect(outcomes[12]?.error).toMatchObject({ side: 'source', retryable: false });
    expect(outcomes[12]).not.toHaveProperty('requestId');
    for (const { mirrorId } of outcomes.filter(({ cached }) => cached === false))
      expect(await ended(mirrorId)).toBe('done');
    expect((await mirrorOf(outcomes[4]?.mirrorId)).arrival).toEqual({
      ...{ manifests: 1, blobs: 2, bytes: expect.any(Number) as number, foreign: [], referrers: [] },
      ...{ level: 'blobs', moved: { blobs: 2, bytes: expect.any(Number) as number, referrers: 0 } },
    });
  });

  it('asks once for what comes twice', async () => {
    await stock('twice/a');
    const image = `${world.source.host}/twice/a:1`;
    const { body } = await ask({ images: [image, image], to: [world.target.host, world.target.host] });
    expect(body.outcomes).toHaveLength(4);
    expect(new Set(body.outcomes.map(({ requestId }) => requestId)).size).toBe(1);
    await ended(body.outcomes[0]?.mirrorId);
  });

  it('brings what is chosen, for all of its images', async () => {
    await push(world.source.url, 'chosen/a', '1', platformsIndex(++seed));
    const images = [`${world.source.host}/chosen/a:1`];
    const platforms = ['linux/arm64/v8', 'linux/amd64'];
    const { body } = await ask({ images, to: world.target.host, platforms, referrers: ['application/x'] });
    const view = await mirrorOf(body.outcomes[0]?.mirrorId);
    expect(view).toMatchObject({ platforms: ['linux/amd64', 'linux/arm64'], referrers: ['application/x'] });
    await ended(view.id);
    const { body: all } = await ask({ images, to: `${world.target.host}/all` });
    const whole = await mirrorOf(all.outcomes[0]?.mirrorId);
    expect(whole.referrers).toBe('all');
    expect(whole).not.toHaveProperty('platforms');
    await ended(whole.id);
  });

  it('starts nothing in a dry run', async () => {
    await stock('dry/a');
    const { body } = await ask({
      images: [`${world.source.host}/dry/a:1`],
      to: world.target.host,
      dryRun: true,
    });
    expect(body.outcomes[0]).toMatchObject({ cached: false });
    expect(body.outcomes[0]).not.toHaveProperty('mirrorId');
    expect(await list(`source=${world.source.host}/dry`)).toEqual([]);
  });

  const many = (count: number) => Array.from({ length: count }, (_, n) => `i${n}`);
  it.each<[string, unknown, string[]]>([
    ['no body', {}, ['"images"', '"to"']],
    ['the form of one image', { image: 'a', to: 'b' }, ['"images"', 'image']],
    ['no list', { images: 'a', to: 'b' }, ['"images"']],
    ['no images', { images: [], to: 'b' }, ['"images"']],
    ['an image that is no text', { images: ['a', 1], to: 'b' }, ['"images.1"']],
    ['too many images', { images: many(501), to: 'b' }, ['"images"', '500']],
    ['no targets', { images: ['a'], to: [] }, ['"to"']],
    ['too many targets', { images: ['a'], to: many(21) }, ['"to"']],
    ['too many of both', { images: many(401), to: ['b', 'c', 'd'] }, ['"images"', 'more than 1000']],
    ['a misspelt field', { images: ['a'], to: 'b', platform: ['linux/amd64'] }, ['platform']],
    [
      'a wrong platform',
      { images: ['a'], to: 'b', platforms: ['linux/amd64', 'arm'] },
      ['"platforms.1"', 'arm/v7'],
    ],
    ['no platforms', { images: ['a'], to: 'b', platforms: [] }, ['"platforms"']],
    ['wrong referrers', { images: ['a'], to: 'b', referrers: 'some' }, ['"referrers"']],
    ['a wrong flag', { images: ['a'], to: 'b', dryRun: 'yes' }, ['"dryRun"']],
    ['no JSON', '[', ['JSON']],
  ])('names the field that is wrong: %s', async (_, body, said) => {
    const { status, body: answer } = await ask(body);
    expect({ status, code: answer.code }).toEqual({ status: 400, code: 'invalid_request' });
    for (const text of said) expect(answer.message).toContain(text);
  });

  it('has room for 500 names of the greatest length', async () => {
    // 255 characters of a name, 128 of a tag, and a digest of 135.
    const long = (n: number) =>
      `r.invalid/${'a'.repeat(240)}${String(n).padStart(5, '0')}:${'t'.repeat(128)}@sha512:${'0'.repeat(128)}`;
    const images = Array.from({ length: 500 }, (_, n) => long(n));
    const { status, body } = await ask({ images, to: ['nowhere', 'neither'] });
    expect(status).toBe(200);
    expect(body.outcomes).toHaveLength(1000);
    expect(body.outcomes.every(({ error }) => error?.code === 'invalid_request')).toBe(true);
  });

  it('does not wait anew for each image of a registry that is away, and others do not wait for it', async () => {
    await stock('away/good');
    gate.add(/^HEAD \/v2\/away\//, { kind: 'answer', status: 503 });
    const images = many(64).map((name) => `${gate.host}/away/${name}:1`);
    const good = `${world.source.host}/away/good:1`;
    const { body } = await ask({ images: [...images, good], to: world.target.host });
    // On a busy machine the last look of a submit may not get its answer in time.
    const codes = body.outcomes.map(({ error }) => error?.code.replace('timeout', 'registry_unavailable'));
    expect(codes).toEqual([...Array<string>(64).fill('registry_unavailable'), undefined]);
    expect(body.outcomes[63]?.error).toMatchObject({ side: 'source', retryable: true });
    const asked = gate.calls().filter((call) => call.includes('/away/'));
    expect(new Set(asked).size).toBe(16);
    await ended(body.outcomes[64]?.mirrorId);
  });

  it('counts each image at each target in the limits, and lets in what they leave', async () => {
    await stock('limits/a');
    const image = `${world.source.host}/limits/a:1`;
    const { body: made } = await world.call<{ key: string }>(
      ...(['POST', '/v1/keys', { name: 'batches' }, bearer(world.service.key)] as const),
    );
    const images = [image, image, 'Bad-1', 'Bad-2', 'Bad-3'];
    const { status, body } = await ask({ images, to: [world.target.host, 'nowhere'] }, made.key);
    expect(status).toBe(200);
    expect(body.outcomes.map(({ error }) => error?.code)).toEqual([
      // The same two again cost nothing.
      ...[undefined, 'invalid_request', undefined, 'invalid_request'],
      ...['invalid_reference', 'invalid_reference', 'invalid_reference'],
      ...Array<string>(3).fill('too_many_requests'),
    ]);
    expect(body.outcomes.at(-1)?.error).toMatchObject({
      remedy: expect.stringContaining('`limits.submit.perCaller`') as string,
      retryable: true,
      retryAfter: 12,
    });
    const next = await ask({ images: [image], to: world.target.host }, made.key);
    expect(next.status).toBe(429);
    expect(next.headers.get('retry-after')).toMatch(/^1[0-2]$/);
    await ended(body.outcomes[0]?.mirrorId);
  });

  it('goes on with what it had begun when the client goes away, and begins no more', async () => {
    const names = Array.from({ length: 24 }, (_, n) => `gone/image-${n}`);
    await Promise.all(names.map(stock));
    const looks = gate.add(/^HEAD \/v2\/gone\//, { kind: 'hold' });
    const client = new AbortController();
    const answer = fetch(`${world.service.url}/v1/mirrors`, {
      method: 'POST',
      headers: { ...bearer(world.service.key), 'content-type': 'application/json' },
      body: JSON.stringify({ images: names.map((name) => `${gate.host}/${name}:1`), to: world.target.host }),
      signal: client.signal,
    });
    await expect.poll(() => looks.hits()).toBe(16);
    client.abort();
    await expect(answer).rejects.toThrow();
    // Its end has been seen when this later one is answered.
    await world.call('GET', '/health');
    looks.release();
    const source = `source=${gate.host}/gone`;
    await expect.poll(async () => (await list(source)).length).toBe(16);
    for (const { id } of await list(source)) expect(await ended(id)).toBe('done');
    expect((await list(source)).map((mirror) => mirror.source).sort()).toEqual(
      names
        .slice(0, 16)
        .map((name) => `${gate.host}/${name}:1`)
        .sort(),
    );
  });

  it('is for who has a key', async () => {
    expect((await world.call('POST', '/v1/mirrors', { images: ['a'], to: 'b' })).status).toBe(401);
  });
});
