import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { type Config, ConfigError } from '../config.ts';
import { asMirrorError } from '../core/errors.ts';
import type { Grant } from '../core/grant.ts';
import { probeSkopeo } from '../executor/probe.ts';
import { sweep } from '../executor/process.ts';
import { createEcrLogins, createKeychain } from '../keychain/installation.ts';
import { chain } from '../keychain/keychain.ts';
import { createKeyedMutex } from '../lib/mutex.ts';
import { allowsLoopback, createAddressPolicy } from '../lib/address.ts';
import { grantPurpose } from '../mirror/decision.ts';
import { createPushCheck } from '../mirror/access.ts';
import { createForecaster } from '../mirror/forecast.ts';
import { createObservatory } from '../mirror/look.ts';
import { deadlineIn, signalUntil, untilDeadline } from '../mirror/retry.ts';
import { createPresence } from '../mirror/presence.ts';
import { createWorker } from '../mirror/worker.ts';
import { readVersion } from '../version.ts';
import { makeFirstKey, openSealer } from './keys.ts';
import { createTools, rulesOf, policyOf, selectionOf } from './tools.ts';

// This room is the only one that picks implementations. What only the service needs is imported when the service starts:
// a command that mirrors by itself must not pay for a web server and a database.

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
    { createReceipts },
    { createSigningKeys },
    { createReceiptStore },
    { createReceiptKeyStore },
    { createReceiptPush },
  ] = await Promise.all([
    import('../db/open.ts'),
    import('../queue/queue.ts'),
    import('../db/mirrors.ts'),
    import('../db/requests.ts'),
    import('../db/keys.ts'),
    import('../mirror/service.ts'),
    import('../mirror/runner.ts'),
    import('../api/app.ts'),
    import('../lib/log.ts'),
    import('../lib/launcher.ts'),
    import('../lib/guard.ts'),
    import('../lib/namespace.ts'),
    import('../platform/open.ts'),
    import('../keychain/platform.ts'),
    import('../db/events.ts'),
    import('../mirror/events.ts'),
    import('../mirror/feed.ts'),
    import('../db/retention.ts'),
    import('../db/pulse.ts'),
    import('../mirror/upkeep.ts'),
    import('../mirror/receipts.ts'),
    import('../mirror/signing.ts'),
    import('../db/receipts.ts'),
    import('../db/receipt-keys.ts'),
    import('../mirror/receipt-push.ts'),
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
    const requestPolicy = policyOf(config, tools.registry);
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
    const masterKey = config.secretKeys ? 'DRAY_SECRET_KEY' : config.secretKeyFile;
    let lost = platform.lostPairs;
    await mirrors.resealGrants((sealed, id) => {
      if (sealer.open(sealed, grantPurpose(id)) === undefined) lost++;
      return sealer.reseal(sealed, grantPurpose(id));
    });
    if (lost > 0)
      logger.warn(
        { lost, masterKey },
        'The master key does not open what an earlier one has sealed: pairings are made anew, mirrors that wait will fail',
      );
    const signing = createSigningKeys({
      store: createReceiptKeyStore(database.kysely),
      sealer,
      onLost: (key) => {
        lost++;
        logger.warn(
          { key, masterKey },
          'The master key does not open the key that receipts are signed with: a new one signs from now on',
        );
      },
    });
    // It is there before the first receipt, so that others can have it to compare.
    await signing.reseal();
    await signing.present();
    if (lost === 0 && (config.secretKeys?.length ?? 1) > 1)
      logger.info('All that was sealed is sealed with the first master key now; the others may go');
    const receipts = createReceipts({
      store: createReceiptStore(database.kysely),
      keys: signing,
      version: readVersion(),
    });
    const keys = keyStore.createKeyStore(database.kysely);
    const queue = await queues.openQueue(database, config.skopeo.timeLimit, onError);
    closing.unshift(() => queue.close());
    const keychainOf = (grant: Grant | undefined) =>
      grant ? chain(createPlatformKeychain(platform, ecr, grant), shared) : own;
    const tags = createKeyedMutex();
    const runner = runners.createRunner({
      mirrors,
      worker: createWorker(tools, mirrors.superseded, requestPolicy.checkMove, tags),
      receipts,
      ...(config.receipts.push && { pushReceipt: createReceiptPush(tools, tags, () => receipts.keys()) }),
      keychainOf,
      sealer,
      retry: config.retry,
      patience: config.pacing.patience,
      onOutcome: ({ id, source, target, digest, attempts }, { failure, wait, unreceipted }) => {
        const about = { mirror: id, source, target, digest, attempts };
        if (unreceipted)
          logger.warn(
            { ...about, failure: unreceipted.toFailure() },
            'A copy is done, but its receipt could not be left at the target',
          );
        else if (!failure) logger.info(about, 'A copy is done');
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
      presence: createPresence(tools.registry, config.verify),
      policy: requestPolicy,
      measure: createForecaster(tools),
      selection: selectionOf(config),
      overwrite: config.overwrite,
      freshness: config.freshness,
      budget: config.submitBudget,
      checkDisk: () => checkDisk(config.dataDir),
    });
    let url = config.url?.replace(/\/+$/, '') ?? '';
    const app = await apps.createApp({
      service,
      receipts,
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

/** Bytes that must be free for a copy to be accepted: its auth files, its log and its records. */
const reserve = 16 * 1024 * 1024;

/** @throws an ENOSPC when the data folder's disk is as good as full: better said at submit than found by a copy. */
async function checkDisk(dataDir: string): Promise<void> {
  const { bavail, bsize } = await statfs(dataDir);
  if (bavail * bsize < reserve) throw Object.assign(new Error('The disk is full'), { code: 'ENOSPC' });
}
