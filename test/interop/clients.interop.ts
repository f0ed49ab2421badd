import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { manifestOf, noiseLayer, platformsIndex, push } from '../fixtures/image.ts';
import { startRegistry, type TestRegistry } from '../fixtures/registry.ts';
import { fetchTree } from '../fixtures/tree.ts';
import { key, startDray } from './service.ts';

const { wave, nextflow } = inject('tools');

let source: TestRegistry;
let target: TestRegistry;
let service: Awaited<ReturnType<typeof startDray>>;
let digest: string;
beforeAll(async () => {
  [source, target, service] = await Promise.all([startRegistry(), startRegistry(), startDray()]);
  digest = (await push(source.url, 'lib/a', 'v1', platformsIndex(1))).digest;
  const broken = await push(source.url, 'lib/broken', 'v1', manifestOf([noiseLayer(2, 5000)]));
  const layer = broken.children[1]?.digest ?? '';
  const removed = await fetch(`${source.url}/v2/lib/broken/blobs/${layer}`, { method: 'DELETE' });
  expect(removed.status).toBe(202);
});
afterAll(() => Promise.all([service.end(), source.stop(), target.stop()]));

/** Runs a client to its end, whatever its exit status. */
async function run(command: string, args: string[], cwd: string) {
  const child = execFile(command, args, { cwd, timeout: 100_000 });
  let output = '';
  child.stdout?.on('data', (chunk: string) => (output += chunk));
  child.stderr?.on('data', (chunk: string) => (output += chunk));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, output };
}

async function expectCopied(path: string, reference = 'v1'): Promise<void> {
  const want = await fetchTree(source.url, 'lib/a', reference);
  expect(await fetchTree(target.url, path, reference)).toEqual(want);
}

describe.skipIf(!wave)('the Wave command line', () => {
  const mirror = (image: string, to: string, ...more: string[]) => {
    const request = ['--mirror', '--build-repo', to, '-i', image, '-o', 'json'];
    const login = more.includes('--tower-token') ? [] : ['--tower-token', key];
    return run(wave ?? '', ['--wave-endpoint', service.url, ...login, ...request, ...more], service.folder);
  };

  it('mirrors an image and waits for it', async () => {
    const { code, output } = await mirror(`${source.host}/lib/a:v1`, `${target.host}/wave`, '--await');
    expect(code, output).toBe(0);
    expect(JSON.parse(output)).toMatchObject({
      targetImage: `${target.host}/wave/lib/a:v1`,
      mirror: true,
      succeeded: true,
    });
    await expectCopied('wave/lib/a');
  });

  it('mirrors an image by its digest', async () => {
    const image = `${source.host}/lib/a@${digest}`;
    const { code, output } = await mirror(image, `${target.host}/digest/`, '--await');
    expect(code, output).toBe(0);
    expect(JSON.parse(output)).toMatchObject({ targetImage: `${target.host}/digest/lib/a@${digest}` });
    await expectCopied('digest/lib/a', digest);
  });

  it('is told at once what was mirrored before', async () => {
    const to = `${target.host}/twice`;
    await mirror(`${source.host}/lib/a:v1`, to, '--await');
    const { output } = await mirror(`${source.host}/lib/a:v1`, to);
    expect(JSON.parse(output)).toMatchObject({ cached: true, succeeded: true });
  });

  it('does a dry run that writes nothing', async () => {
    const { code, output } = await mirror(`${source.host}/lib/a:v1`, `${target.host}/dry`, '--dry-run');
    expect(code, output).toBe(0);
    expect(JSON.parse(output)).toMatchObject({ cached: false, succeeded: true });
    expect((await fetch(`${target.url}/v2/dry/lib/a/manifests/v1`)).status).toBe(404);
  });

  it('shows what is wrong with a request', async () => {
    const image = `${source.host}/lib/a:v1`;
    const faults: [string, Promise<{ code: number | null; output: string }>][] = [
      ['[401]', mirror(image, target.host, '--tower-token', 'dray_wrong')],
      ['[404]', mirror(`${source.host}/lib/none:v1`, target.host)],
      ['[400]', mirror(image, `${source.host}/a`)],
    ];
    for (const [status, fault] of faults) {
      const { code, output } = await fault;
      expect(code).not.toBe(0);
      expect(output).toContain(status);
    }
  });

  it('shows why a copy failed', async () => {
    const { output } = await mirror(`${source.host}/lib/broken:v1`, target.host, '--await');
    expect(output).toContain('"succeeded":false');
  });

  it('reads the version of the service', async () => {
    const { code, output } = await run(
      wave ?? '',
      ['--info', '--wave-endpoint', service.url],
      service.folder,
    );
    expect(code, output).toBe(0);
    expect(output).toContain(service.url);
  });
});

describe.skipIf(!nextflow)('Nextflow', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dray-nextflow-'));
    const script = "process HELLO {\n  container params.image\n  script: 'true'\n}\nworkflow { HELLO() }\n";
    await writeFile(join(folder, 'main.nf'), script);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  /** Resolves the containers of a pipeline; `-concretize` has them made and waits, as a run does before its first task. */
  async function inspect(image: string, to: string, token: string, ...more: string[]) {
    const wave = `enabled = true\n mirror = true\n endpoint = '${service.url}'\n build.repository = '${to}'`;
    const config = `docker.enabled = true\nplugins { id 'nf-wave' }\nwave {\n ${wave}\n}\ntower.accessToken = '${token}'\n`;
    await writeFile(join(folder, 'nextflow.config'), config);
    return run(nextflow ?? '', ['inspect', 'main.nf', ...more, '--image', image], folder);
  }

  it('mirrors the containers of a pipeline and waits for them', async () => {
    const image = `${source.host}/lib/a:v1`;
    const { code, output } = await inspect(image, `${target.host}/nextflow`, key, '-concretize');
    expect(code, output).toBe(0);
    expect(output).toContain(`"container": "${target.host}/nextflow/lib/a:v1"`);
    await expectCopied('nextflow/lib/a');
  });

  it('learns the names alone without starting a copy', async () => {
    const { code, output } = await inspect(`${source.host}/lib/a:v1`, `${target.host}/names`, key);
    expect(code, output).toBe(0);
    expect(output).toContain(`"container": "${target.host}/names/lib/a:v1"`);
    expect((await fetch(`${target.url}/v2/names/lib/a/manifests/v1`)).status).toBe(404);
  });

  it('shows why a copy failed, and where to read more', async () => {
    const { code, output } = await inspect(`${source.host}/lib/broken:v1`, target.host, key, '-concretize');
    expect(code).not.toBe(0);
    expect(output).toContain('did not complete successfully');
    expect(output).toMatch(/Reason: \S+/);
    expect(output).toContain(`${service.url}/view/mirrors/mr-`);
  });

  it('shows what is wrong with a request', async () => {
    const none = await inspect(`${source.host}/lib/none:v1`, target.host, key, '-concretize');
    expect(none.output).toContain('does not exist');
    const login = await inspect(`${source.host}/lib/a:v1`, target.host, 'dray_wrong', '-concretize');
    expect(login.output).toMatch(/401/);
  });
});
