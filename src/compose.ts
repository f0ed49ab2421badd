import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, rename, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Config, ConfigError, parseSecretKeys } from './config.ts';
import { asMirrorError } from './core/errors.ts';
import type { Grant } from './core/grant.ts';
import { type KeyStore, newKey } from './core/key.ts';
import { probeSkopeo } from './executor/probe.ts';
import { createProcessExecutor, sweep } from './executor/process.ts';
import { createEcrLogins, createKeychain } from './keychain/installation.ts';
import { chain } from './keychain/keychain.ts';
import {
  type AddressPolicy,
  type AddressRules,
  allowAll,
  allowsLoopback,
  createAddressPolicy,
  isLoopbackHost,
} from './lib/address.ts';
import type { Guard } from './lib/guard.ts';
import type { Launcher } from './lib/launcher.ts';
import { parseRetryAfter } from './lib/retry-after.ts';
import { createSealer, type Sealer } from './lib/seal.ts';
import { grantPurpose } from './mirror/decision.ts';
import { createLocalMirror, type LocalMirror } from './mirror/local.ts';
import { createPushCheck } from './mirror/access.ts';
import { createPacer, type Pacer } from './mirror/pacing.ts';
import { createObservatory } from './mirror/look.ts';
import { deadlineIn, signalUntil, untilDeadline } from './mirror/retry.ts';
import { isWhole } from './mirror/tree.ts';
import { createWorker, type Tools } from './mirror/worker.ts';
import { createRegistry } from './registry/client.ts';
import { readBudget } from './registry/rate-limit.ts';
import type { Registry } from './registry/registry.ts';
import { readVersion } from './version.ts';

// The only place that picks implementations. What only the service needs is imported when the service starts:
// a command that mirrors by itself must not pay for a web server and a database.

/** @param policy everything, for a user's own process: it reaches nothing that its user does not. */
export function createRegistryClient(
  config: Config,
  policy: AddressPolicy = allowAll,
  pacer?: Pacer,
): Registry {
  const { hosts, proxy } = config;
  return createRegistry({
    ...{ hosts, proxy, policy },
    onAnswer: ({ registry, credential }, status, headers) => {
      // What asks for a login was asked without one: what it tells is of another's budget.
      const budget = status === 401 ? undefined : readBudget(headers, Date.now());
      const retryAfter = parseRetryAfter(String(headers['retry-after'] ?? ''));
      const refused = status === 429 && { ...(retryAfter !== undefined && { retryAfter }) };
      pacer?.observe(registry, credential, { ...(budget && { budget }), ...(refused && { refused }) });
    },
  });
}

/** Where callers may lead the service. */
function rulesOf({ host, network, registries }: Config): AddressRules {
  // The name under which Docker Hub's API is reached.
  const own = (registry: string) => (registry === 'docker.io' ? 'registry-1.docker.io' : registry);
  return {
    allow: network.allow,
    named: registries.flatMap((entry) => [own(entry.host), ...(entry.tokenServers ?? [])]),
    loopback: isLoopbackHost(host),
  };
}

/** What a service has that a single command has not. */
interface Guarded {
  run: Launcher['run'];
  policy: AddressPolicy;
  guard: Guard;
}

/** @param cacheDir where Skopeo remembers which repositories have a blob, so that it can mount it; root's is elsewhere. */
function createTools(config: Config, runDir: string, cacheDir: string, guarded?: Guarded): Tools {
  const pacer = createPacer(config.pacing);
  const executor = createProcessExecutor({
    ...(guarded && { run: guarded.run, guard: guarded.guard }),
    skopeo: config.skopeo.path,
    runDir,
    env: { ...config.childEnv, XDG_DATA_HOME: cacheDir },
  });
  return {
    registry: createRegistryClient(config, guarded?.policy, pacer),
    pacer,
    executor,
    hosts: config.hosts,
    timeLimit: config.skopeo.timeLimit,
    stallLimit: config.skopeo.stallLimit,
  };
}

/** Mirrors in this process, without service and database. `runDir` is a folder of this run's own. */
export function createLocal(config: Config, runDir: string): LocalMirror & { close(): Promise<void> } {
  const { HOME = runDir, XDG_DATA_HOME = join(HOME, '.local/share') } = config.childEnv;
  // The user's own: what a command has copied, the next one can mount.
  const tools = createTools(config, runDir, XDG_DATA_HOME);
  const observatory = createObservatory({
    ...tools,
    freshness: config.freshness,
    knowsRegistry: () => Promise.resolve(false),
  });
  const keychain = createKeychain(config);
  const worker = createWorker(tools, () => Promise.resolve(false));
  return {
    ...createLocalMirror({
      looks: observatory.as(keychain),
      keychain,
      worker,
      budget: config.submitBudget,
      retry: config.retry,
    }),
    close: () => tools.registry.close(),
  };
}

export interface Service {
  /** Where it listens. */
  url: string;
  /** The file with the first key, when this start made one. */
  firstKey: string | undefined;
  /** Takes no more work, finishes answers, gives running copies back to the queue. */
  close(): Promise<void>;
}

/**
 * Starts the whole service.
 * @throws ConfigError for settings that can't work; MirrorError `database_unavailable`.
 */
export async function startService(config: Config): Promise<Service> {
  const [
    db,
    queues,
    mirrorStore,
    requestStore,
    keyStore,
    services,
    runners,
    apps,
    { createLogger },
    { startLauncher },
    { startGuard },
    { findNamespace },
    { openPlatform },
    { createPlatformKeychain },
    { createEventStore },
    { createHub },
    { createFeeds },
    { createRetentionStore },
    { createPulse },
    { keepTidy },
  ] = await Promise.all([
    import('./db/open.ts'),
    import('./queue/queue.ts'),
    import('./db/mirrors.ts'),
    import('./db/requests.ts'),
    import('./db/keys.ts'),
    import('./mirror/service.ts'),
    import('./mirror/runner.ts'),
    import('./api/app.ts'),
    import('./lib/log.ts'),
    import('./lib/launcher.ts'),
    import('./lib/guard.ts'),
    import('./lib/namespace.ts'),
    import('./platform/open.ts'),
    import('./keychain/platform.ts'),
    import('./db/events.ts'),
    import('./mirror/events.ts'),
    import('./mirror/feed.ts'),
    import('./db/retention.ts'),
    import('./db/pulse.ts'),
    import('./mirror/upkeep.ts'),
  ]);
  const logger = createLogger(config.logLevel);
  const onError = (error: unknown) => logger.error({ err: error }, 'Something failed in the background');
  await probeSkopeo(config.skopeo.path, config.childEnv).catch((error: unknown) => {
    const { message, remedy } = asMirrorError(error);
    throw new ConfigError(`skopeo.path: ${message} ${remedy}`);
  });
  const pairings = config.readPairings();
  const rules = rulesOf(config);
  const runDir = join(config.dataDir, 'run');
  // Go reaches loopback past every proxy. Where nobody may go there, Skopeo lives where it is not.
  const namespace = allowsLoopback(rules)
    ? undefined
    : await findNamespace(join(runDir, 'guard'), config.childEnv['PATH']).catch((error: unknown) => {
        const reason = error instanceof Error ? error.message : error;
        logger.warn({ reason }, weaker);
        return undefined;
      });
  const launcher = startLauncher(namespace);
  const closing: (() => Promise<unknown>)[] = [async () => launcher.close()];
  try {
    const database = await db.openDatabase(config);
    closing.unshift(() => database.close());
    const orphans = await sweep(runDir);
    if (orphans > 0) logger.warn({ orphans }, 'Ended Skopeo processes of a service that crashed');

    const policy = createAddressPolicy(rules);
    const guard = await startGuard({ rules, proxy: config.proxy, socket: namespace?.socket });
    closing.unshift(() => guard.close());
    const { run } = launcher;
    const tools = createTools(config, runDir, join(config.dataDir, 'cache'), { run, policy, guard });
    closing.unshift(() => tools.registry.close());
    const sealer = await openSealer(config);
    const platform = await openPlatform({
      endpoints: pairings,
      kysely: database.kysely,
      sealer,
      onError,
      onGone: (endpoint, why) => logger.warn({ endpoint, why }, 'A socket of Seqera Platform has closed'),
    });
    closing.unshift(async () => platform.channel.close());
    const ecr = createEcrLogins(config);
    const own = createKeychain(config, { ecr });
    const shared = createKeychain(config, { ecr, sharedOnly: true });
    const hub = createHub();
    const mirrors = mirrorStore.createMirrorStore(database.kysely, hub.poke);
    const requests = requestStore.createRequestStore(database.kysely, hub.poke);
    let lost = platform.lostPairs;
    await mirrors.resealGrants((sealed, id) => {
      if (sealer.open(sealed, grantPurpose(id)) === undefined) lost++;
      return sealer.reseal(sealed, grantPurpose(id));
    });
    if (lost > 0)
      logger.warn(
        { lost, masterKey: config.secretKeys ? 'DRAY_SECRET_KEY' : config.secretKeyFile },
        'The master key does not open what an earlier one has sealed: pairings are made anew, mirrors that wait will fail',
      );
    else if ((config.secretKeys?.length ?? 1) > 1)
      logger.info('All that was sealed is sealed with the first master key now; the others may go');
    const keys = keyStore.createKeyStore(database.kysely);
    const queue = await queues.openQueue(database, config.skopeo.timeLimit, onError);
    closing.unshift(() => queue.close());
    const keychainOf = (grant: Grant | undefined) =>
      grant ? chain(createPlatformKeychain(platform, ecr, grant), shared) : own;
    const runner = runners.createRunner({
      mirrors,
      worker: createWorker(tools, mirrors.superseded),
      keychainOf,
      sealer,
      retry: config.retry,
      patience: config.pacing.patience,
      onOutcome: ({ id, source, target, digest, attempts }, { failure, wait }) => {
        const about = { mirror: id, source, target, digest, attempts };
        if (!failure) logger.info(about, 'A copy is done');
        else if (wait)
          logger.warn({ ...about, failure: failure.toFailure(), wait }, 'A copy failed; it is tried again');
        else logger.warn({ ...about, failure: failure.toFailure() }, 'A copy failed');
      },
      onError,
    });
    const service = services.createMirrorService({
      mirrors,
      requests,
      queue,
      observatory: createObservatory({
        ...tools,
        freshness: config.freshness,
        knowsRegistry: mirrors.knowsRegistry,
      }),
      runner,
      keychainOf,
      checkPush: createPushCheck(tools.registry),
      sealer,
      isWhole: async ({ target, digest }, logins, deadline) => {
        const signal = signalUntil(deadline);
        const access = { credential: await logins.resolve(target, signal), signal };
        return isWhole(tools.registry, target, digest, access);
      },
      overwrite: config.overwrite,
      freshness: config.freshness,
      budget: config.submitBudget,
      checkDisk: () => checkDisk(config.dataDir),
    });
    let url = config.url?.replace(/\/+$/, '') ?? '';
    const app = await apps.createApp({
      service,
      feeds: createFeeds({
        ...{ mirrors, requests, events: createEventStore(database.kysely), hub },
        shared: database.url !== undefined,
      }),
      keys: {
        ...keys,
        // A caller is not turned away because the database is away for a moment.
        find: (hash) => untilDeadline(deadlineIn(config.submitBudget), () => keys.find(hash)),
      },
      pulse: createPulse(database.kysely),
      adminKey: config.apiKey,
      limits: config.limits,
      trustedProxies: config.trustedProxies,
      endpoints: [...pairings.keys()],
      identify: (grant) => platform.tenantOf(grant, signalUntil(deadlineIn(config.submitBudget))),
      pairing: platform,
      version: readVersion(),
      url: () => url,
      logger,
    });
    // Answers that are under way may still add jobs; nobody takes any more.
    closing.unshift(() => Promise.all([queue.release(), app.close()]));
    const firstKey = config.apiKey === undefined ? await makeFirstKey(keys, config) : undefined;
    const address = await app.listen({ host: config.host, port: config.port }).catch((error: unknown) => {
      throw explainListen(error, config);
    });
    url ||= address;
    await service.start(config.copies);
    const stopTidying = new AbortController();
    const retention = createRetentionStore(database.kysely);
    const tidying = keepTidy(retention, config.retention, stopTidying.signal, onError);
    closing.unshift(() => {
      stopTidying.abort();
      return tidying;
    });
    return {
      url: address,
      firstKey,
      close: async () => {
        // One that fails must not keep the others open.
        for (const close of closing) await close().catch(onError);
      },
    };
  } catch (error) {
    for (const close of closing) await close().catch(onError);
    throw error;
  }
}

/** What is said at the start when Skopeo can't have a network namespace of its own. */
const weaker =
  "Skopeo shares this machine's network namespace, since none of its own can be made: a hostile registry can have it " +
  "connect to ports of this machine's loopback (docs/security.md)";

function explainListen(error: unknown, { host, port }: Config): unknown {
  const faults: Partial<Record<string, string>> = {
    EADDRINUSE: `DRAY_PORT: ${port} is in use on ${host}. Choose another port, or stop what listens there.`,
    EACCES: `DRAY_PORT: ${port} may not be opened by this user. Choose a port above 1023.`,
    EADDRNOTAVAIL: `DRAY_HOST: ${host} is no address of this machine. Give one that is, such as 127.0.0.1 or 0.0.0.0.`,
    ENOTFOUND: `DRAY_HOST: ${host} has no address. Give one of this machine's, such as 127.0.0.1 or 0.0.0.0.`,
  };
  const fault = faults[(error as NodeJS.ErrnoException).code ?? ''];
  return fault === undefined ? error : new ConfigError(fault);
}

/** Whether there are keys to open without a service: reading must not make a database. */
export function hasKeys({ databaseUrl, dataDir }: Config): boolean {
  return databaseUrl !== undefined || existsSync(join(dataDir, 'db'));
}

/** Opens the keys without a service: refused while one runs on the same data folder. */
export async function openKeys(config: Config): Promise<{ keys: KeyStore; close(): Promise<void> }> {
  const [{ openDatabase }, { createKeyStore }] = await Promise.all([
    import('./db/open.ts'),
    import('./db/keys.ts'),
  ]);
  const database = await openDatabase(config);
  return { keys: createKeyStore(database.kysely), close: () => database.close() };
}

/** The file comes first, whole or not at all: a key that nobody knows would lock everybody out. */
async function makeFirstKey(keys: KeyStore, { keyFile }: Config): Promise<string | undefined> {
  if ((await keys.list()).some(({ admin, revokedAt }) => admin && !revokedAt)) return undefined;
  const key = newKey();
  await writeFile(`${keyFile}.new`, `${key}\n`, { mode: 0o600, flag: 'w' });
  await rename(`${keyFile}.new`, keyFile);
  await keys.create('first start', true, key);
  return keyFile;
}

/**
 * The master key: from the environment, or from a file that the first start makes.
 * @throws ConfigError when others than its owner may read the file.
 */
async function openSealer({ secretKeys, secretKeyFile }: Config): Promise<Sealer> {
  if (secretKeys) return createSealer(secretKeys);
  if (!existsSync(secretKeyFile)) {
    await writeFile(`${secretKeyFile}.new`, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600 });
    await rename(`${secretKeyFile}.new`, secretKeyFile);
  }
  if (((await stat(secretKeyFile)).mode & 0o077) !== 0)
    throw new ConfigError(
      `${secretKeyFile} can be read by others. Make it private: chmod 600 ${secretKeyFile}`,
    );
  return createSealer(parseSecretKeys(await readFile(secretKeyFile, 'utf8'), secretKeyFile));
}

/** Bytes that must be free for a copy to be accepted: its auth files, its log and its records. */
const reserve = 16 * 1024 * 1024;

/** @throws an ENOSPC when the data folder's disk is as good as full: better said at submit than found by a copy. */
async function checkDisk(dataDir: string): Promise<void> {
  const { bavail, bsize } = await statfs(dataDir);
  if (bavail * bsize < reserve) throw Object.assign(new Error('The disk is full'), { code: 'ENOSPC' });
}
