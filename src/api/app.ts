import { randomUUID } from 'node:crypto';
import fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  LogController,
  type RawServerDefault,
} from 'fastify';
import { validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { KeyStore } from '../core/key.ts';
import { MirrorError } from '../core/errors.ts';
import type { Feeds } from '../mirror/feed.ts';
import type { Receipts } from '../mirror/receipts.ts';
import type { MirrorService } from '../mirror/service.ts';
import type { Channel } from '../platform/channel.ts';
import type { Pairings } from '../platform/pairing.ts';
import { type Authenticator, createAuthenticator, type Identify } from './auth.ts';
import { handleError } from './errors.ts';
import { createKeyring } from './keyring.ts';
import { createLimits, type Limits, type LimitSettings } from './limits.ts';
import { registerDocs, registerOpenapi } from './routes/docs.ts';
import { registerEvents } from './routes/events.ts';
import { registerHealth } from './routes/health.ts';
import { registerKeys } from './routes/keys.ts';
import { registerMirrors } from './routes/mirrors.ts';
import { registerPairing } from './routes/pairing.ts';
import { registerPlan } from './routes/plan.ts';
import { registerReceipts } from './routes/receipts.ts';
import { registerViews } from './routes/views.ts';
import { registerWave } from './routes/wave.ts';
import { createStreams, type Streams } from './streams.ts';

export type App = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

export interface AppOptions {
  service: MirrorService;
  feeds: Feeds;
  receipts: Pick<Receipts, 'find' | 'keys' | 'rotate'>;
  keys: KeyStore;
  /** DRAY_API_KEY. */
  adminKey: string | undefined;
  /** Endpoints of Seqera Platform that may be paired, and who a caller of theirs is. */
  endpoints: readonly string[];
  identify: Identify;
  /** Takes the sockets of Seqera Platform. */
  pairing: { pairings: Pairings; channel: Channel };
  limits: LimitSettings;
  /** Whether the database answers. */
  pulse: () => Promise<boolean>;
  /** Addresses and ranges of proxies whose `X-Forwarded-For` counts. */
  trustedProxies: string[];
  version: { version: string; commitId: string };
  /** Public base URL, without a trailing slash; known only once the server listens. */
  url: () => string;
  logger: FastifyBaseLogger;
}

/** What the routes need. */
export interface Dependencies extends Omit<
  AppOptions,
  'adminKey' | 'endpoints' | 'identify' | 'limits' | 'trustedProxies' | 'logger'
> {
  auth: Authenticator;
  limits: Limits;
  streams: Streams;
}

/** Bytes of a body; the largest honest request is a few kB. */
const bodyLimit = 1024 * 1024;

/** Milliseconds between two looks for connections that became idle while the service closes. */
const reapEvery = 50;

/** Builds the HTTP application; the caller makes it listen, and closes it. */
export async function createApp(options: AppOptions): Promise<App> {
  const { trustedProxies, logger } = options;
  const keyring = createKeyring(options.keys.listGood, options.adminKey);
  const limits = createLimits(options.limits, keyring);
  const streams = createStreams();
  const app: App = fastify({
    loggerInstance: logger,
    // One line a request is most of a hot answer's cost; failures are logged where they happen.
    logController: new LogController({ disableRequestLogging: true }),
    // A logger of its own for each request costs as much as the rest of a hot answer's logging saves.
    childLoggerFactory: (parent) => parent,
    bodyLimit,
    trustProxy: trustedProxies.length > 0 && trustedProxies,
    requestTimeout: 30_000,
    genReqId: () => randomUUID(),
    // Those whose answer is under way get it; nobody waits for idle keep-alive connections.
    forceCloseConnections: 'idle',
    return503OnClosing: true,
    routerOptions: { maxParamLength: 200 },
  }).withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler(validatorCompiler);
  // Answers are built by typed code; the schemas are for the document.
  app.setSerializerCompiler(() => JSON.stringify);
  app.setErrorHandler(handleError);
  app.setNotFoundHandler({ preValidation: limits.countRead }, (request) => {
    throw new MirrorError('unknown_id', `There is no ${request.method} ${shownPath(request.url)}.`, {
      remedy: 'See /docs for what there is.',
    });
  });
  app.addHook('onRequest', (_, reply, done) => {
    void reply.header('x-content-type-options', 'nosniff');
    done();
  });
  limits.register(app);
  // Node calls a connection idle only behind its first request; clients open some in advance.
  const unused = new Set<Duplex>();
  app.server.on('connection', (socket) => {
    unused.add(socket);
    socket.once('close', () => unused.delete(socket));
  });
  for (const event of ['request', 'upgrade'] as const)
    app.server.on(event, ({ socket }: IncomingMessage) => unused.delete(socket));
  // A connection whose last answer is out while we close would be kept open for its next request, and us with it.
  app.addHook('preClose', (done) => {
    streams.close();
    const reaper = setInterval(() => {
      app.server.closeIdleConnections();
      for (const socket of unused) socket.destroy();
    }, reapEvery);
    app.server.once('close', () => clearInterval(reaper));
    done();
  });
  const auth = createAuthenticator({
    ...options,
    keyring,
    limits,
    onError: (error) => logger.warn({ err: error }, "A key's use was not noted"),
    onForget: () => streams.recheck(),
  });
  const dependencies: Dependencies = { ...options, auth, limits, streams };
  await registerDocs(app, dependencies);
  registerWave(app, dependencies);
  registerMirrors(app, dependencies);
  registerPlan(app, dependencies);
  registerEvents(app, dependencies);
  registerReceipts(app, dependencies);
  registerKeys(app, dependencies);
  registerHealth(app, dependencies);
  registerViews(app, dependencies);
  registerOpenapi(app);
  await registerPairing(app, {
    ...options.pairing,
    mayTry: (request) => limits.mayTry(request),
    onRefused: (request) => limits.noteRefusal(request),
  });
  return app;
}

/** A mistyped pairing URL has a token in it. */
function shownPath(url: string): string {
  const path = url.split('?')[0]?.slice(0, 100) ?? '';
  return /^\/+pairing/i.test(path) ? '/pairing/…' : path;
}
