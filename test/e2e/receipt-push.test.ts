import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { content, manifestOf, noiseLayer, oci, push, pushBlob, sha256 } from '../fixtures/image.ts';
import { type Envelope, mirrored, receiptOf, stated } from '../fixtures/receipts.ts';
import { createWorld, type World } from '../fixtures/world.ts';

let world: World;
let gate: Gate;
let seed = 7500;
beforeAll(async () => {
  world = await createWorld({
    settings: 'freshness: 0\nretry: {firstPause: 0.2, longestPause: 0.2}\nreceipts: {push: true}\n',
  });
  gate = await startGate(world.target.host);
});
afterAll(async () => {
  await gate.stop();
  await world.stop();
});

describe('a receipt that is left at the target', () => {
  const receiptType = 'application/vnd.dray.receipt.v1+json';

  const manifest = async (url: string, path: string, reference: string) => {
    const accept = [
      'application/vnd.oci.image.index.v1+json',
      'application/vnd.oci.image.manifest.v1+json',
    ].join(', ');
    const answer = await fetch(`${url}/v2/${path}/manifests/${reference}`, { headers: { accept } });
    return answer.ok ? ((await answer.json()) as Record<string, unknown>) : undefined;
  };
  /** Receipts that the fallback tag lists, as the API would give them. */
  const left = async (url: string, path: string, digest: string) => {
    const index = await manifest(url, path, digest.replace(':', '-'));
    const entries = (index?.['manifests'] ?? []) as { digest: string; artifactType?: string }[];
    const ours = entries.filter(({ artifactType }) => artifactType === receiptType);
    return Promise.all(
      ours.map(async (entry) => {
        const body = await manifest(url, path, entry.digest);
        expect(body).toMatchObject({
          artifactType: receiptType,
          config: { mediaType: 'application/vnd.oci.empty.v1+json', size: 2 },
          layers: [{ mediaType: 'application/vnd.dsse.envelope.v1+json' }],
          subject: { digest },
        });
        const [layer] = body?.['layers'] as [{ digest: string }];
        const blob = await fetch(`${url}/v2/${path}/blobs/${layer.digest}`);
        return (await blob.json()) as Envelope;
      }),
    );
  };
  const pushed = async (path: string) => {
    const image = await push(world.source.url, path, '1', manifestOf([noiseLayer(++seed, 5000)]));
    return image.digest;
  };

  it('is found as what refers to the image, and is the one that the API has', async () => {
    const digest = await pushed('left');
    const buildId = await mirrored(world, `${world.source.host}/left:1`);
    expect(await left(world.target.url, 'left', digest)).toEqual([await receiptOf(world, buildId)]);
    // What was there already says nothing new.
    expect((await world.submit(`${world.source.host}/left:1`)).body.cached).toBe(true);
    expect(await left(world.target.url, 'left', digest)).toHaveLength(1);
  });

  it('is there once when its push had to be tried again', async () => {
    const digest = await pushed('again');
    const tag = new RegExp(`^PUT /v2/again/manifests/${digest.replace(':', '-')}`);
    const rule = gate.add(tag, { kind: 'answer', status: 503 }, 2);
    const buildId = await mirrored(world, `${world.source.host}/again:1`, gate.host);
    expect(rule.hits()).toBe(2);
    expect(await left(world.target.url, 'again', digest)).toEqual([await receiptOf(world, buildId)]);
    // The same bytes each time: nothing is left over that no list names.
    const puts = gate.calls().filter((call) => call.startsWith('PUT /v2/again/manifests/sha256:'));
    expect(new Set(puts).size).toBe(2);
  });

  it('is there once after kill -9 between its push and the end of its mirror', async () => {
    const digest = await pushed('killed');
    const tag = new RegExp(`^PUT /v2/killed/manifests/${digest.replace(':', '-')}`);
    const rule = gate.add(tag, { kind: 'hold' }, 1);
    const { body } = await world.submit(`${world.source.host}/killed:1`, gate.host);
    await rule.met;
    await world.service.stop('SIGKILL');
    rule.release();
    await world.restart();
    expect(await world.finished(body.requestId)).toMatchObject({ succeeded: true });
    expect(await left(world.target.url, 'killed', digest)).toEqual([
      await receiptOf(world, body.buildId ?? ''),
    ]);
  });

  it('is not kept away by what others have left there in its likeness', async () => {
    const digest = await pushed('likeness');
    await mirrored(world, `${world.source.host}/likeness:1`);
    const { manifests } = (await manifest(world.target.url, 'likeness', digest.replace(':', '-'))) as {
      manifests: { annotations: Record<string, string> }[];
    };
    // Say that they state the same as ours, which anybody can compute, and take its place.
    const repository = `${world.target.url}/v2/likeness`;
    const blobs = [Buffer.from('{}'), Buffer.from('{"payload":"e30","payloadType":"x","signatures":[]}')];
    for (const bytes of blobs) await pushBlob(world.target.url, 'likeness', content('', bytes));
    const types = ['application/vnd.oci.empty.v1+json', 'application/vnd.dsse.envelope.v1+json'];
    const [config, layer] = blobs.map((bytes, n) => ({
      ...{ mediaType: types[n], digest: sha256(bytes), size: bytes.length },
    }));
    const broken = { ...layer, digest: '../../../v2/likeness/manifests/1' };
    const entries = [];
    for (const layers of [[layer], [broken]]) {
      const artifact = {
        ...{ schemaVersion: 2, mediaType: oci.manifest, artifactType: receiptType, config, layers },
        subject: { mediaType: oci.manifest, digest, size: 500 },
        annotations: manifests[0]?.annotations,
      };
      const bytes = Buffer.from(JSON.stringify(artifact));
      const put = { method: 'PUT', headers: { 'content-type': oci.manifest }, body: bytes };
      const answer = await fetch(`${repository}/manifests/${sha256(bytes)}`, put);
      if (layers[0] === layer) expect(answer.status).toBe(201);
      const { annotations } = artifact;
      const about = { mediaType: oci.manifest, digest: sha256(bytes), size: bytes.length };
      if (answer.ok) entries.push({ ...about, artifactType: receiptType, annotations });
    }
    const list = JSON.stringify({ schemaVersion: 2, mediaType: oci.index, manifests: entries });
    const put = { method: 'PUT', headers: { 'content-type': oci.index }, body: list };
    expect((await fetch(`${repository}/manifests/${digest.replace(':', '-')}`, put)).status).toBe(201);
    await push(world.target.url, 'likeness', '1', manifestOf([noiseLayer(++seed, 500)]));
    const second = await mirrored(world, `${world.source.host}/likeness:1`);
    expect(await left(world.target.url, 'likeness', digest)).toContainEqual(await receiptOf(world, second));
  });

  it('that the registry refuses is kept, told of, and no failure of the mirror', async () => {
    const digest = await pushed('refused');
    gate.add(new RegExp(`^PUT /v2/refused/manifests/${digest.replace(':', '-')}`), {
      kind: 'answer',
      status: 403,
    });
    const buildId = await mirrored(world, `${world.source.host}/refused:1`, gate.host);
    expect(stated(await receiptOf(world, buildId)).predicate['mirror']).toBe(buildId);
    // The end is on record a moment before it is in the log.
    await expect.poll(() => world.service.output()).toContain('its receipt could not be left at the target');
    const log = await world.call<string>('GET', `/v1alpha1/mirrors/${buildId}/logs`, undefined, {
      authorization: `Bearer ${world.service.key}`,
    });
    expect(log.body).toContain('Its receipt could not be left there. denied');
  });

  it('travels on, and two registries that are mirrored to each other come to rest', async () => {
    const digest = await pushed('round');
    const there = () => world.submit(`${world.source.host}/round:1`, world.target.host);
    const back = () => world.submit(`${world.target.host}/round:1`, world.source.host);
    const cached: boolean[] = [];
    for (const ask of [there, back, there, back, there]) {
      const { body } = await ask();
      await world.finished(body.requestId);
      cached.push(body.cached);
    }
    expect(cached).toEqual([false, false, false, true, true]);
    const [here, beyond] = await Promise.all([
      left(world.source.url, 'round', digest),
      left(world.target.url, 'round', digest),
    ]);
    const ids = (all: Envelope[]) => all.map((each) => stated(each).predicate['mirror']).sort();
    expect(ids(here)).toHaveLength(2);
    expect(ids(beyond)).toEqual(ids(here));
  });
});
