// Writes what a Skopeo says of every fault, for src/executor/corpus.test.ts:
//   node test/vectors/skopeo/record.ts [path of skopeo]
// The file is named after the version that this Skopeo says it is.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { type Provoked, provokeAll } from '../../fixtures/provoke.ts';
import type { Recorded } from './corpus.ts';

const skopeo = process.argv[2] ?? 'skopeo';
const version = /version (\S+)/.exec(execFileSync(skopeo, ['--version'], { encoding: 'utf8' }))?.[1] ?? '';

/** What else Skopeo says at debug level is of no use for telling failures apart. */
const useful = /level=(?!debug)|Retry-After|Too many requests|Upload of manifest list/;

/** A name that nobody has stays. */
const named = (registry: string, place: string) => (registry.startsWith('127.') ? place : registry);

/** Without what is another one at every run: ports, paths, digests, times, ids of uploads. */
function normalized({ lines, job }: Provoked): string[] {
  const digests = new Map<string, string>();
  const stable = (digest: string) => {
    const known = digests.get(digest) ?? (digests.size + 1).toString(16).repeat(64).slice(0, 64);
    digests.set(digest, known);
    return known;
  };
  const told = lines
    .filter((line) => useful.test(line))
    .map((line) =>
      line
        .replaceAll(job.source.registry, named(job.source.registry, '127.0.0.1:5001'))
        .replaceAll(job.target.registry, named(job.target.registry, '127.0.0.1:5002'))
        .replaceAll(job.source.path, 'app')
        .replace(/^time="[^"]*"/, 'time="2026-11-25T00:00:00Z"')
        .replace(/\b[0-9a-f]{64}\b/g, stable)
        .replace(/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, '363f3397-0000-4000-8000-000000000000')
        .replace(/_state=[^\s&"\\]*/g, '_state=x')
        .replace(/127\.0\.0\.1:[0-9]+->/g, '127.0.0.1:40000->')
        .replace(/ on [0-9.]+:53\b/g, ' on 10.0.0.53:53'),
    );
  return [...new Set(told)];
}

const recorded: Recorded[] = [];
const wrong = await provokeAll(skopeo, (fault, provoked, n) => {
  const { how, side, shape, code, login, end } = fault;
  const host = end === 'no such name' && { host: provoked.job[side].registry };
  recorded[n] = {
    ...{ how, side, shape, ...(login && { login }), ...host, code },
    lines: normalized(provoked),
  };
});
const file = fileURLToPath(new URL(`${version}.json`, import.meta.url));
const text = JSON.stringify({ version, recorded });
writeFileSync(file, await format(text, { ...(await resolveConfig(file)), filepath: file }));
process.stdout.write(`${recorded.length} faults of Skopeo ${version} in ${file}\n${wrong.join('\n')}\n`);
process.exitCode = wrong.length > 0 ? 1 : 0;
