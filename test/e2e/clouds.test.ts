import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startAcr, type TestAcr } from '../fixtures/acr.ts';
import { startGoogle, type TestGoogle } from '../fixtures/google.ts';
import { manifestOf, noiseLayer, platformsIndex, push } from '../fixtures/image.ts';
import { type NameProxy, startNameProxy } from '../fixtures/name-proxy.ts';
import { makeCertificate, startRegistry, type TestRegistry } from '../fixtures/registry.ts';
import { answer, forward, type StandIn, startStandIn } from '../fixtures/stand-in.ts';
import { fetchTree, sameTree } from '../fixtures/tree.ts';
import { createWorld, type World } from '../fixtures/world.ts';

const gar = 'europe-west1-docker.pkg.dev';
let acr: TestAcr;
let google: TestGoogle;
let folder: string;
let behindGar: TestRegistry;
let garFront: StandIn;
let proxy: NameProxy;
let world: World;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dray-clouds-'));
  const files = makeCertificate(folder, [`DNS:${gar}`]);
  [acr, google, behindGar] = await Promise.all([startAcr(), startGoogle(), startRegistry()]);
  const onward = forward(behindGar.url);
  // Artifact Registry takes Google's tokens as passwords.
  garFront = await startStandIn((seen, response) => {
    const [, login = ''] = (seen.headers.authorization ?? '').split(' ');
    const [username, password = ''] = Buffer.from(login, 'base64').toString().split(':');
    if (username !== 'oauth2accesstoken' || !google.knowsToken(password))
      return answer(response, 401, { errors: [] }, { 'www-authenticate': `Basic realm="${gar}"` });
    return onward({ ...seen, headers: { ...seen.headers, 'x-forwarded-proto': 'https' } }, response);
  }, files);
  proxy = await startNameProxy({
    [acr.name]: acr.place,
    [google.name]: google.place,
    [gar]: garFront.host,
  });
  world = await createWorld({
    settings: `
dockerConfig: false
logLevel: trace
registries:
  - {host: ${acr.name}, login: azure, ca: ${acr.caFile}}
  - {host: ${gar}, login: google, key: {file: ${google.keyFile}}, ca: ${files.ca}}
  - {host: ${google.name}, ca: ${google.caFile}}
`,
    env: { ...acr.env, HTTPS_PROXY: proxy.url, NO_PROXY: '127.0.0.1' },
  });
});
afterAll(async () => {
  await world.stop();
  await Promise.all([acr, google, garFront, behindGar, proxy].map((one) => one.stop()));
  await rm(folder, { recursive: true });
});

it('mirrors into Artifact Registry with the key of a service account, and from there into Azure', async () => {
  await push(world.source.url, 'multi', '1', platformsIndex(91));
  const first = await world.submit(`${world.source.host}/multi:1`, `${gar}/project/team`);
  expect(first.status, JSON.stringify(first.body)).toBe(200);
  const there = await world.finished(first.body.requestId);
  expect(there, JSON.stringify(there)).toMatchObject({ succeeded: true });
  expect(
    sameTree(
      await fetchTree(world.source.url, 'multi', '1'),
      await fetchTree(behindGar.url, 'project/team/multi', '1'),
    ),
  ).toBe(true);

  await push(behindGar.url, 'project/team/other', '1', manifestOf([noiseLayer(92, 5000)]));
  const second = await world.submit(`${gar}/project/team/other:1`, `${acr.name}/mirror`);
  expect(second.status, JSON.stringify(second.body)).toBe(200);
  const end = await world.finished(second.body.requestId);
  expect(end, JSON.stringify(end)).toMatchObject({ succeeded: true });
  expect(acr.calls().filter((call) => call === 'exchange')).toHaveLength(1);
  expect(acr.calls().filter((call) => /\d{3}$/.test(call))).toEqual([]);
  expect(google.calls()).toEqual(['key']);
});

it('shows no token and no key to anybody', () => {
  const secrets = [...acr.secrets(), ...google.secrets()];
  expect(secrets.length).toBeGreaterThan(4);
  const output = world.service.output();
  expect(output).toContain('"mirror"');
  // Not the whole text in the message: it would be long, and hold the secret.
  expect(secrets.filter((secret) => output.includes(secret))).toEqual([]);
});
