// Shows the whole job on this machine, with real registries, and ends by itself. `--keep` leaves it running.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { styleText } from 'node:util';
import { busyboxIndex } from '../test/fixtures/busybox.ts';
import { push } from '../test/fixtures/image.ts';
import { startRegistry } from '../test/fixtures/registry.ts';
import { startService } from '../test/fixtures/service.ts';
import { fetchTree, sameTree } from '../test/fixtures/tree.ts';

const keep = process.argv.includes('--keep');
const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop.abort());
const cleanups: (() => Promise<unknown>)[] = [];

let steps = 0;
const step = (text: string) => console.log(`\n${styleText('bold', `${++steps}. ${text}`)}`);
const tell = (text: string) => console.log(`   ${text}`);
const good = (text: string) => tell(`${styleText('green', '✓')} ${text}`);

async function post<T>(url: string, body: unknown): Promise<T> {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: stop.signal,
  });
  if (!answer.ok) throw new Error(`POST ${url} answered ${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as T;
}

interface Answer {
  requestId: string;
  targetImage: string;
  buildId: string;
  cached: boolean;
  succeeded?: boolean;
}

async function demo(): Promise<void> {
  step('Two registries on this machine');
  const [source, target] = await Promise.all([startRegistry(), startRegistry()]);
  cleanups.push(source.stop, target.stop);
  tell(`source  ${source.host}`);
  tell(`target  ${target.host}`);

  step('A real image at the source');
  const { index, architectures } = await busyboxIndex();
  const image = await push(source.url, 'library/busybox', '1.35', index);
  const name = `${source.host}/library/busybox:1.35`;
  tell(`${name}: Debian's busybox for ${architectures.join(' and ')}, with an attestation each`);
  tell(`digest  ${image.digest}`);

  step('Dray, on its embedded database');
  const dataDir = await mkdtemp(join(tmpdir(), 'dray-demo-'));
  cleanups.push(() => rm(dataDir, { recursive: true, force: true }));
  const service = await startService(dataDir);
  cleanups.push(() => service.stop());
  tell(`${service.url}  (API documentation: ${service.url}/docs)`);

  step('Ask for the image, as Nextflow or the Wave command line would');
  const request = {
    mirror: true,
    containerImage: name,
    buildRepository: `${target.host}/mirror`,
    towerAccessToken: service.key,
  };
  tell(`POST ${service.url}/v1alpha2/container  {"mirror": true, "containerImage": "${name}", …}`);
  const asked = performance.now();
  const answer = await post<Answer>(`${service.url}/v1alpha2/container`, request);
  good(
    `answered in ${Math.round(performance.now() - asked)} ms: pull ${styleText('bold', answer.targetImage)}`,
  );
  tell(`the copy runs in the background: ${service.url}/view/mirrors/${answer.buildId}`);

  step('Wait until it is there');
  interface Status {
    status: string;
    succeeded?: boolean;
    duration?: string;
    reason?: string;
  }
  let status: Status;
  do {
    await sleep(100, undefined, { signal: stop.signal });
    const seen = await fetch(`${service.url}/v1alpha2/container/${answer.requestId}/status`, {
      signal: stop.signal,
    });
    status = (await seen.json()) as Status;
  } while (status.status !== 'DONE');
  if (!status.succeeded) throw new Error(`The mirror failed: ${status.reason}`);
  good(`done after ${Number(status.duration).toFixed(2)} s`);

  step('Compare both registries, byte for byte');
  const before = await fetchTree(source.url, 'library/busybox', '1.35');
  const after = await fetchTree(target.url, 'mirror/library/busybox', '1.35');
  if (!sameTree(before, after)) throw new Error('Source and target differ.');
  for (const { digest, size, mediaType } of after)
    tell(
      `${styleText('green', '=')} ${digest.slice(0, 19)}…  ${String(size).padStart(8)} bytes  ${mediaType}`,
    );
  good(
    `${after.length} of ${before.length} manifests and blobs were fetched from the target, hashed, and are the same`,
  );

  step('Ask again');
  const writes = () => target.log().match(/"(?:POST|PUT|PATCH) /g)?.length ?? 0;
  const written = writes();
  const again = await post<Answer>(`${service.url}/v1alpha2/container`, request);
  if (!again.cached || !again.succeeded || writes() !== written)
    throw new Error('Something was copied again.');
  good('it is there already: nothing was written to the target');
  tell(`the page of this mirror: ${service.url}/view/mirrors/${again.buildId}`);

  if (!keep) return;
  step('Running until Ctrl-C');
  tell('Try, in another terminal:');
  tell(`  export DRAY_URL=${service.url} DRAY_API_KEY=$(cat ${dataDir}/api-key)`);
  tell(`  bin/dray mirror ${name} --to ${target.host}/elsewhere`);
  tell('  bin/dray list');
  await new Promise((resolve) => stop.signal.addEventListener('abort', resolve));
}

let failure: string | undefined;
try {
  await demo();
} catch (error) {
  failure = error instanceof Error ? error.message : 'Something else than an error was thrown.';
} finally {
  for (const cleanup of cleanups.reverse()) await cleanup();
}
if (stop.signal.aborted) {
  console.log('\nStopped; nothing was left running.');
  process.exitCode = keep ? 0 : 130;
} else if (failure !== undefined) {
  console.error(`\n${styleText('red', '✗')} ${failure}`);
  process.exitCode = 1;
} else {
  console.log(`\n${styleText(['green', 'bold'], 'All of it worked.')} Nothing was left running.`);
  console.log('`npm run demo -- --keep` stays up to look around.');
}
