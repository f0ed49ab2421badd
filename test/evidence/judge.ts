import { existsSync, globSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Kind } from '../fixtures/evidence.ts';
import type { Secret } from '../fixtures/secrets.ts';
import { searchFolder } from './search.ts';

/** What a whole run always leaves: kind, what the files' names begin with, and a text that is in one of them. */
const expected: [Kind, string, string][] = [
  ['logs', 'service', 'Dray serves at'],
  ['logs', 'registry', '/v2/'],
  ['logs', 'postgres', 'ready to accept connections'],
  ['outputs', 'command', 'mirror'],
  ['errors', 'answer', '"remedy"'],
  ['processes', 'seen', '--preserve-digests'],
  ['processes', 'seen', 'environment: '],
  ['dumps', 'pglite', 'pgboss.job'],
  ['dumps', 'postgres', 'pgboss.job'],
];

/**
 * Searches the evidence of a run.
 * @param canary a secret that is in it on purpose: a search that does not find it is blind.
 * @returns what is wrong, a sentence each; never a secret.
 */
export async function judge(
  evidence: string,
  secrets: readonly Secret[],
  { canary, isWhole }: { canary: Secret; isWhole: boolean },
): Promise<string[]> {
  const kept = join(evidence, 'kept');
  const findings = await searchFolder(kept, [canary, ...secrets], evidence);
  const found = findings.filter(({ label }) => label !== canary.label);
  const complaints = join(evidence, 'complaints.txt');
  return [
    ...found.map(({ label, file }) => `${label}: in ${file}`),
    ...(existsSync(complaints) ? readFileSync(complaints, 'utf8').split('\n').filter(Boolean) : []),
    ...(found.length === findings.length ? ['The search does not find what is there.'] : []),
    ...(isWhole ? missing(kept, secrets) : []),
  ];
}

function missing(kept: string, secrets: readonly Secret[]): string[] {
  const lacks = expected
    .filter(([kind, name, text]) => {
      const files = globSync(join(kept, kind, `${name}-*`)).filter((file) => statSync(file).size > 0);
      return !files.some((file) => readFileSync(file, 'utf8').includes(text));
    })
    .map(([kind, name, text]) => `No evidence: no file ${kind}/${name}-* holds "${text}".`);
  return secrets.length === 0 ? [...lacks, 'No secret was registered.'] : lacks;
}
