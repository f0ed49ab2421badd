import { statfs } from 'node:fs/promises';
import { Command } from 'commander';
import type { Config } from '../../config.ts';
import { formatBytes } from '../../core/bytes.ts';
import { asMirrorError, MirrorError } from '../../core/errors.ts';
import { parseRegistry } from '../../core/reference.ts';
import type { Health } from '../../wire/health.ts';
import { type Context, exitStatus, type ExitStatus, printJson } from '../context.ts';
import { paint } from '../format.ts';
import { locateService, serviceOption, type ServiceOptions } from '../service.ts';

interface Finding {
  check: string;
  /** `warn`: works, but may surprise. */
  state: 'good' | 'warn' | 'bad';
  text: string;
  remedy?: string;
}

/** Seconds that clocks may differ: tokens and signatures of registries are commonly refused beyond a few minutes. */
const clockTolerance = 120;
/** Bytes of the data folder's disk under which doctor warns. */
const lowDisk = 500_000_000;
/** Milliseconds that one registry may take. */
const registryLimit = 10_000;

export function doctorCommand(context: Context, done: (status: ExitStatus) => void): Command {
  return new Command('doctor')
    .summary('check that everything is in place')
    .description(
      'Checks Skopeo, the service, the disk, the clock, and that each registry answers and accepts the login that Dray ' +
        'has for it: those of dray.yaml, those that Docker has a login for, and those named here.',
    )
    .argument('[registry...]', 'more registries to look at, such as quay.io')
    .option('--json', 'print one JSON document a finding')
    .addOption(serviceOption())
    .action(async (registries: string[], options: ServiceOptions & { json?: true }) =>
      done(await doctor(context, registries, options)),
    );
}

async function doctor(
  context: Context,
  registries: string[],
  options: ServiceOptions & { json?: true },
): Promise<ExitStatus> {
  const config = context.config();
  const named = [
    ...config.registries.map(({ host }) => host),
    ...registries.map((each) => parseRegistry(each)),
  ];
  const docker = await listDockerLogins(config);
  const hosts = new Set([...named, ...docker.hosts]);
  const checks = [
    checkSkopeo(config),
    checkService(context, options),
    checkDisk(config),
    ...docker.findings,
    ...(await checkRegistries(config, [...hosts], context.signal)),
  ];
  let bad = false;
  for (const check of checks)
    for (const found of await check) {
      // A login that `docker login` left long ago may have run out: that matters to who uses it.
      const stale = found.state === 'bad' && hosts.has(found.check) && !named.includes(found.check);
      const finding: Finding = stale ? { ...found, state: 'warn' } : found;
      bad ||= finding.state === 'bad';
      if (options.json) printJson(context, finding);
      else context.stdout.write(format(finding, context.stdout));
    }
  if (hosts.size === 0 && !options.json)
    context.stdout.write(
      '  There is no login for any registry, in dray.yaml or of Docker; name some to look at them: dray doctor quay.io\n',
    );
  return bad ? exitStatus.failed : exitStatus.ok;
}

function format({ check, state, text, remedy }: Finding, stream: NodeJS.WriteStream): string {
  const mark = {
    good: paint(stream, 'green', '✓'),
    warn: paint(stream, 'yellow', '!'),
    bad: paint(stream, 'red', '✗'),
  };
  return `${mark[state]} ${check.padEnd(9)} ${text}\n${remedy === undefined ? '' : `${' '.repeat(12)}${remedy}\n`}`;
}

function fromError(check: string, caught: unknown): Finding {
  const { message, remedy } = asMirrorError(caught);
  return { check, state: 'bad', text: message, remedy };
}

async function checkSkopeo({ skopeo, childEnv }: Config): Promise<Finding[]> {
  const { probeSkopeo } = await import('../../executor/probe.ts');
  try {
    const { version } = await probeSkopeo(skopeo.path, childEnv);
    return [{ check: 'skopeo', state: 'good', text: `${skopeo.path}, version ${version}` }];
  } catch (error) {
    return [fromError('skopeo', error)];
  }
}

async function checkService(context: Context, options: ServiceOptions): Promise<Finding[]> {
  const check = 'service';
  try {
    const service = await locateService(context, options);
    if (!service)
      return [{ check, state: 'warn', text: 'none runs here; `dray mirror` does its work by itself then' }];
    const { pairings } = await service.health();
    await service.list({ limit: 1 });
    return [
      { check, state: 'good', text: `${service.url} answers and accepts the key` },
      ...pairings.map((pairing) => aboutPairing(pairing)),
    ];
  } catch (error) {
    return [fromError(check, error)];
  }
}

function aboutPairing({ endpoint, state, since, lastError }: Health['pairings'][number]): Finding {
  const at = `${since.slice(0, 19).replace('T', ' ')} UTC`;
  if (state === 'connected')
    return { check: 'platform', state: 'good', text: `${endpoint} is connected, since ${at}` };
  return {
    check: 'platform',
    state: 'bad',
    text: `${endpoint} is not connected, since ${at}${lastError === undefined ? '' : `: ${lastError}`}`,
    remedy: `Check that WAVE_SERVER_URL on its side names this service and reaches it; the service's log has refused pairings.`,
  };
}

/** The hosts in Docker's configuration, or what is wrong with that. */
async function listDockerLogins({
  dockerConfig,
}: Config): Promise<{ hosts: string[]; findings: Promise<Finding[]>[] }> {
  if (typeof dockerConfig !== 'string') return { hosts: [], findings: [] };
  const { listDockerHosts } = await import('../../keychain/docker-config.ts');
  try {
    return { hosts: await listDockerHosts(dockerConfig), findings: [] };
  } catch (error) {
    return { hosts: [], findings: [Promise.resolve([fromError('logins', error)])] };
  }
}

async function checkDisk({ dataDir }: Config): Promise<Finding[]> {
  const check = 'disk';
  const { bavail, bsize } = await statfs(dataDir).catch(() => statfs('.'));
  const free = bavail * bsize;
  const text = `${formatBytes(free)} free for the data folder ${dataDir}`;
  if (free > lowDisk) return [{ check, state: 'good', text }];
  return [
    { check, state: 'warn', text, remedy: 'Free space there: records, logs and the database need some.' },
  ];
}

/** Each registry's answer, and what their clocks say of ours. */
async function checkRegistries(
  config: Config,
  hosts: string[],
  stop: AbortSignal,
): Promise<Promise<Finding[]>[]> {
  const [{ createRegistryClient }, { createKeychain }] = await Promise.all([
    import('../../compose/tools.ts'),
    import('../../keychain/installation.ts'),
  ]);
  const registry = createRegistryClient(config);
  const keychain = createKeychain(config);
  const clocks: number[] = [];
  const look = async (host: string): Promise<Finding> => {
    const signal = AbortSignal.any([stop, AbortSignal.timeout(registryLimit)]);
    let login = 'without a login';
    try {
      const credential = await keychain.resolve({ registry: host, path: '' }, signal);
      if (credential) login = `with the login of ${credential.username ?? 'an identity token'}`;
      const asked = Date.now();
      const time = await registry.ping(host, { credential, signal });
      if (time) clocks.push((asked + Date.now()) / 2 - time.getTime());
      return { check: host, state: 'good', text: `answers ${login}` };
    } catch (caught) {
      if (caught instanceof MirrorError && caught.code === 'login_required')
        return {
          check: host,
          state: 'warn',
          text: 'answers; it wants a login and Dray has none',
          remedy: caught.remedy,
        };
      return fromError(host, caught);
    }
  };
  const looks = hosts.map(async (host) => [await look(host)]);
  const clock = Promise.all(looks).then(async (): Promise<Finding[]> => {
    await registry.close();
    const off = clocks.toSorted((a, b) => Math.abs(a) - Math.abs(b))[0];
    if (off === undefined) return [];
    const seconds = Math.round(Math.abs(off) / 1000);
    if (seconds <= clockTolerance)
      return [{ check: 'clock', state: 'good', text: 'agrees with the registries' }];
    const text = `this machine is ${seconds} s ${off > 0 ? 'ahead of' : 'behind'} the registries`;
    return [
      {
        check: 'clock',
        state: 'bad',
        text,
        remedy: 'Set the time (NTP): tokens and certificates depend on it.',
      },
    ];
  });
  return [...looks, clock];
}
