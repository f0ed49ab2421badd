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

/**
 * Milliseconds between two looks at a copy. Client and service share two cores with the copy itself: a look every
 * 10 ms cost it a tenth of its time. When it was done is therefore not seen, but read from its record.
 */
const poll = 250;
/** Milliseconds that a copy may take. */
const longest = 180_000;

/**
 * Asks for a mirror and waits, as Wave clients do, until it is there.
 * @returns milliseconds from the request until the service had it on record as done.
 * @throws Error when it fails.
 */
export async function mirror({ url, key }: TestService, image: string, target: string): Promise<number> {
  const path = '/v1alpha2/container';
  const started = Date.now();
  const answer = await call<ContainerAnswer>(url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: mirrorRequest(image, target, key),
  });
  while (Date.now() - started < longest) {
    const status = await call<ContainerStatus>(`${url}${path}/${answer.requestId}/status`);
    if (status.status === 'DONE' && !status.succeeded)
      throw new Error(`${image} was not mirrored: ${status.reason}`);
    if (status.status === 'DONE') {
      const headers = { authorization: `Bearer ${key}` };
      const { finishedAt } = await call<{ finishedAt: string }>(`${url}/v1/mirrors/${answer.buildId}`, {
        headers,
      });
      return Date.parse(finishedAt) - started;
    }
    await sleep(poll);
  }
  throw new Error(`${image} was not mirrored within ${longest / 1000} s`);
}

async function call<T>(url: string, init?: RequestInit): Promise<T> {
  const answer = await fetch(url, init);
  if (answer.status !== 200) throw new Error(`${url} answered ${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as T;
}
