import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { manifestOf, noiseLayer } from '../fixtures/image.ts';
import { createPlatformWorld, platformUser, type PlatformWorld } from '../fixtures/platform-world.ts';
import { newSecret } from '../fixtures/secrets.ts';

const { wave, nextflow } = inject('tools');

const writer = {
  username: 'writer',
  password: newSecret('password of writer'),
  rights: { '*': ['pull', 'push'] },
};
const ann = platformUser(1, 'ann', [4711]);

/** Unmodified clients, as users of Seqera Platform have them: their own token, their workspace's credentials. */
describe.skipIf(!wave && !nextflow)('a caller of Seqera Platform', () => {
  let world: PlatformWorld;
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dray-platform-'));
    world = await createPlatformWorld({ users: [ann], accounts: [writer] });
    for (const registry of [world.gate.host, world.closedTarget.host])
      world.platform.credentials.push({
        ...{ id: `c-${registry.replace(/\W/g, '-')}`, provider: 'container-reg', registry },
        ...{ workspaceId: 4711, keys: { userName: writer.username, password: writer.password } },
      });
    await world.stock('team/app', 'v1', manifestOf([noiseLayer(1, 5000)]));
    await world.stock('team/other', 'v1', manifestOf([noiseLayer(2, 5000)]));
  });
  afterAll(async () => {
    await world.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function run(command: string, args: string[]) {
    const child = execFile(command, args, { cwd: folder, timeout: 100_000 });
    let output = '';
    child.stdout?.on('data', (chunk: string) => (output += chunk));
    child.stderr?.on('data', (chunk: string) => (output += chunk));
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, output };
  }

  it.skipIf(!wave)('mirrors a private image with the Wave command line', async () => {
    const { code, output } = await run(wave ?? '', [
      ...['--wave-endpoint', world.service.url, '--mirror', '--await', '-o', 'json'],
      ...['-i', `${world.gate.host}/team/app:v1`, '--build-repo', world.closedTarget.host],
      ...['--tower-token', ann.accessToken, '--tower-endpoint', world.platform.endpoint],
      ...['--tower-workspace-id', '4711'],
    ]);
    expect(code, output).toBe(0);
    expect(JSON.parse(output)).toMatchObject({ succeeded: true, mirror: true });
  });

  it.skipIf(!nextflow)('mirrors the containers of a pipeline with Nextflow', async () => {
    const script = "process HELLO {\n  container params.image\n  script: 'true'\n}\nworkflow { HELLO() }\n";
    await writeFile(join(folder, 'main.nf'), script);
    // As docs/seqera-platform.md has it.
    await writeFile(
      join(folder, 'nextflow.config'),
      `docker.enabled = true
plugins { id 'nf-wave' }
tower {
  accessToken = '${ann.accessToken}'
  endpoint = '${world.platform.endpoint}'
  workspaceId = 4711
}
wave {
  enabled = true
  mirror = true
  endpoint = '${world.service.url}'
  build.repository = '${world.closedTarget.host}/pipelines'
}
`,
    );
    const image = `${world.gate.host}/team/other:v1`;
    const { code, output } = await run(nextflow ?? '', [
      ...['inspect', 'main.nf', '-concretize', '--image', image],
    ]);
    expect(code, output).toBe(0);
    expect(output).toContain(`"container": "${world.closedTarget.host}/pipelines/team/other:v1"`);
  });
});
