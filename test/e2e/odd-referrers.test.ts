import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addToFallback, describeReferrer, fallbackTag } from '../fixtures/forest.ts';
import { startGate } from '../fixtures/gate.ts';
import { content, manifestOf, noiseLayer, oci, platformsIndex, push } from '../fixtures/image.ts';
import { createWorld, type World } from '../fixtures/world.ts';

let world: World;
beforeAll(async () => {
  world = await createWorld({ settings: 'freshness: 0\nretry: { tries: 2, firstPause: 0.05 }\n' });
});
afterAll(() => world.stop());

let runs = 0;

/** Mirrors and waits; it must succeed. */
async function mirrored(from: { host: string }, path: string) {
  const { status, body } = await world.submit(`${from.host}/${path}:v1`);
  expect(status, JSON.stringify(body)).toBe(200);
  expect(await world.finished(body.requestId)).toMatchObject({ succeeded: true });
  return body;
}

describe('what a source says refers to an image', () => {
  it('is not what has the name of the list at the source and is no index', async () => {
    const path = 'named';
    const image = platformsIndex(++runs);
    await push(world.source.url, path, 'v1', image);
    await push(world.source.url, path, fallbackTag(image.digest), manifestOf([noiseLayer(++runs, 500)]));
    await mirrored(world.source, path);
    expect(await mirrored(world.source, path)).toMatchObject({ cached: true });
  });

  it("is left out where its manifest is of a kind that OCI 1.1's drafts had", async () => {
    const path = 'outdated';
    const image = platformsIndex(++runs);
    await push(world.source.url, path, 'v1', image);
    const mediaType = 'application/vnd.oci.artifact.manifest.v1+json';
    const bytes = Buffer.from(JSON.stringify({ mediaType, subject: { digest: image.digest } }));
    const old = { ...describeReferrer(content(mediaType, bytes)), artifactType: 'application/x.old' };
    const gate = await startGate(world.source.host);
    try {
      gate.add(new RegExp(`/referrers/${image.digest}`), {
        ...{ kind: 'answer', status: 200, headers: { 'content-type': oci.index } },
        body: JSON.stringify({ schemaVersion: 2, mediaType: oci.index, manifests: [old] }),
      });
      gate.add(new RegExp(`/manifests/${old.digest}`), {
        ...{ kind: 'answer', status: 200, headers: { 'content-type': mediaType } },
        body: bytes.toString(),
      });
      await mirrored(gate, path);
      expect(await mirrored(gate, path)).toMatchObject({ cached: true });
    } finally {
      await gate.stop();
    }
  });

  it('is the fault of the source where a blob of it has other bytes there', async () => {
    const path = 'altered';
    const subject = platformsIndex(++runs);
    await push(world.source.url, path, 'v1', subject);
    const layer = noiseLayer(++runs, 500);
    const referrer = manifestOf([layer], { subject, artifactType: 'application/x.altered' });
    await push(world.source.url, path, undefined, referrer);
    await addToFallback(world.source.url, path, subject.digest, [referrer]);
    const gate = await startGate(world.source.host);
    try {
      const body = 'x'.repeat(layer.bytes.length);
      gate.add(new RegExp(`^GET .*/blobs/${layer.digest}`), { kind: 'answer', status: 200, body });
      const { body: answered } = await world.submit(`${gate.host}/${path}:v1`, world.target.host);
      const end = await world.finished(answered.requestId);
      expect(end).toMatchObject({ succeeded: false });
      expect(end.reason).toMatch(/is something else.*At fault: the source registry/);
    } finally {
      await gate.stop();
    }
  });
});
