import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { processesWith } from '../fixtures/processes.ts';
import { fetchTree, type Node, sameTree } from '../fixtures/tree.ts';
import type { Pushed } from '../fixtures/image.ts';
import type { Side } from './calls.ts';

// What must hold after every run. Each function reads from registries directly, past the proxies, and returns
// complaints: whole sentences, none if all is well.

/** How a mirror, or a submit, may fail. */
export interface Allowed {
  code: string;
  /** Absent: it can't be told which. */
  side?: Side;
}

export interface Failure {
  code: string;
  side?: string;
  message?: string;
}

/** The tree of an image as it was pushed, as {@link fetchTree} would read it. */
export function treeOf({ contents }: Pushed): Node[] {
  return [...contents.values()]
    .map(({ digest, bytes, mediaType }) => ({
      digest,
      size: bytes.length,
      mediaType: /manifest|index/.test(mediaType) ? mediaType : 'blob',
    }))
    .sort((a, b) => a.digest.localeCompare(b.digest));
}

/** Everything under a reference is there, and byte for byte what it was at the source. */
export async function checkArrival(
  url: string,
  repository: string,
  reference: string,
  expected: readonly Node[],
): Promise<string[]> {
  try {
    const found = await fetchTree(url, repository, reference);
    if (sameTree(found, expected)) return [];
    return [`${repository}:${reference} at the target is another tree than at the source.`];
  } catch (error) {
    return [`${repository}:${reference} was reported to be at the target: ${(error as Error).message}.`];
  }
}

/** A failure has a code and a side that the faults of the run account for. */
export function checkFailure(
  what: string,
  failure: Failure | undefined,
  allowed: readonly Allowed[],
): string[] {
  if (!failure) return [`${what} failed and does not say why.`];
  if (allowed.some(({ code, side }) => code === failure.code && side === failure.side)) return [];
  const list = allowed.map(({ code, side }) => `${code} at ${side ?? 'no side'}`).join(', ') || 'none';
  return [
    `${what} failed with ${failure.code} at ${failure.side ?? 'no side'} (${failure.message ?? ''}); allowed: ${list}.`,
  ];
}

/** No process and no file is left of a copy. */
export function checkLeftovers(dataDir: string): string[] {
  const runDir = join(dataDir, 'run');
  const processes = processesWith(`HOME=${runDir}/`).map((pid) => `Process ${pid} of a copy still runs.`);
  const files = existsSync(runDir) ? readdirSync(runDir, { recursive: true, encoding: 'utf8' }) : [];
  return [...processes, ...files.map((file) => `A copy has left ${join('run', file)}.`)];
}

/** Every tag of these repositories resolves to something whole, whoever set it. */
export async function checkTags(url: string, isOurs: (repository: string) => boolean): Promise<string[]> {
  const complaints: string[] = [];
  const catalog = await read<{ repositories: string[] | null }>(`${url}/v2/_catalog?n=1000`);
  for (const repository of (catalog?.repositories ?? []).filter(isOurs)) {
    // A repository that has blobs and no tag has no list.
    const list = await read<{ tags: string[] | null }>(`${url}/v2/${repository}/tags/list`);
    for (const tag of list?.tags ?? [])
      await fetchTree(url, repository, tag).catch((error: unknown) =>
        complaints.push(
          `The tag ${repository}:${tag} resolves to something incomplete: ${(error as Error).message}.`,
        ),
      );
  }
  return complaints;
}

async function read<T>(url: string): Promise<T | undefined> {
  const answer = await fetch(url);
  if (answer.status === 404) return undefined;
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return (await answer.json()) as T;
}
