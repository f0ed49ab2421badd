import { describe, expect, it } from 'vitest';
import { readCorpora, type Recorded } from '../../test/vectors/skopeo/corpus.ts';
import { provokeAll } from '../../test/fixtures/provoke.ts';
import { faults } from '../../test/fixtures/skopeo-faults.ts';
import { catalogue, type MirrorError } from '../core/errors.ts';
import type { CopyJob, Endpoint } from './executor.ts';
import { classifyFailure, throttledBy } from './failures.ts';
import { createOutputReader } from './output.ts';

/** What Dray makes of these lines. */
function classify({ side, host, login, lines }: Recorded): MirrorError {
  const at = (own: 'source' | 'target', usual: string): Endpoint => ({
    registry: own === side ? (host ?? usual) : usual,
    path: 'app',
    insecure: true,
    ...(own === side && login && { credential: { username: 'somebody', password: 'something' } }),
  });
  const job: CopyJob = {
    ...{ id: 'mr-0', digest: `sha256:${'1'.repeat(64)}`, timeLimit: 60, stallLimit: 60 },
    source: at('source', '127.0.0.1:5001'),
    target: at('target', '127.0.0.1:5002'),
  };
  const reader = createOutputReader();
  lines.forEach((line) => reader.read(line));
  const throttle = reader.throttled();
  return throttle ? throttledBy(throttle, job) : classifyFailure(reader.fatal(), job, 'with status 1');
}

describe.each(readCorpora())('what Skopeo $version says', ({ recorded }) => {
  it.each(recorded)('of the $side, for a copy that is $shape, of $how: $code', (one) => {
    const { code, side } = one;
    expect(classify(one)).toMatchObject({ code, side, retryable: catalogue[code].retryable });
  });
});

it('was recorded of the oldest Skopeo and of a current one, for every fault', () => {
  const corpora = readCorpora();
  expect(corpora.map(({ version }) => version)).toEqual(['1.22.2', '1.9.3']);
  const told = ({ how, side, shape, code }: Omit<Recorded, 'lines'>) => [how, side, shape, code];
  for (const { recorded } of corpora) expect(recorded.map(told)).toEqual(faults.map(told));
});

// The records are those of two releases: the same faults, for the Skopeo that is installed.
it('is what the Skopeo that is installed says, for every fault', { timeout: 300_000 }, async () => {
  expect(await provokeAll('skopeo')).toEqual([]);
});
