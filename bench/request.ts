import { setTimeout as sleep } from 'node:timers/promises';
import type { TestService } from '../test/fixtures/service.ts';
import type { ContainerAnswer, ContainerStatus } from '../test/fixtures/world.ts';

/** What Nextflow's wave plugin sends for a mirror, nulls included. */
export function mirrorRequest(image: string, target: string, key: string): string {
  return JSON.stringify({
    towerAccessToken: key,
    towerRefreshToken: null,
    towerWorkspaceId: null,
    towerEndpoint: 'https://api.cloud.seqera.io',
    workflowId: '4Bi5xBK6E2Nbhj',
    containerImage: image,
    containerFile: null,
    containerConfig: { entrypoint: null, cmd: null, env: null, workingDir: null, layers: null },
    containerIncludes: null,
    condaFile: null,
    packages: null,
    containerPlatform: 'linux/amd64',
    buildRepository: target,
    cacheRepository: null,
    buildContext: null,
    timestamp: '2026-11-24T19:00:00.000000+00:00',
    fingerprint: '5a4b1c3d2e6f7a8b9c0d1e2f3a4b5c6d',
    freeze: false,
    format: null,
    dryRun: false,
    nameStrategy: null,
    mirror: true,
    scanMode: null,
    scanLevels: null,
    buildCompression: null,
    buildTemplate: null,
  });
}

/** Milliseconds between two looks at a copy; on average half of it is added to what is measured. */
const poll = 10;
/** Milliseconds that a copy may take. */
const longest = 180_000;

/** Asks for a mirror and polls, as Wave clients do, until it is there. @throws Error when it fails. */
export async function mirror({ url, key }: TestService, image: string, target: string): Promise<void> {
  const path = '/v1alpha2/container';
  const headers = { 'content-type': 'application/json' };
  const started = performance.now();
  const answer = await call<ContainerAnswer>(url + path, {
    method: 'POST',
    headers,
    body: mirrorRequest(image, target, key),
  });
  while (performance.now() - started < longest) {
    const status = await call<ContainerStatus>(`${url}${path}/${answer.requestId}/status`);
    if (status.status === 'DONE' && status.succeeded) return;
    if (status.status === 'DONE') throw new Error(`${image} was not mirrored: ${status.reason}`);
    await sleep(poll);
  }
  throw new Error(`${image} was not mirrored within ${longest / 1000} s`);
}

async function call<T>(url: string, init?: RequestInit): Promise<T> {
  const answer = await fetch(url, init);
  if (answer.status !== 200) throw new Error(`${url} answered ${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as T;
}
