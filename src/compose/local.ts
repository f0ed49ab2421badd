import { join } from 'node:path';
import type { Config } from '../config.ts';
import { createKeychain } from '../keychain/installation.ts';
import type { VerifyLevel } from '../core/mirror.ts';
import { type Choice, select } from '../core/selection.ts';
import { allowAll } from '../lib/address.ts';
import { type Evidence, inspect, type Inspection } from '../mirror/inspection.ts';
import { createLocalMirror, type LocalMirror } from '../mirror/local.ts';
import { createObservatory } from '../mirror/look.ts';
import { createForecaster } from '../mirror/forecast.ts';
import { createPresence } from '../mirror/presence.ts';
import { createPacer } from '../mirror/pacing.ts';
import { routeOf } from '../mirror/target.ts';
import { createWorker } from '../mirror/worker.ts';
import { createRegistryClient, createTools, policyOf, selectionOf } from './tools.ts';

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
  const policy = policyOf(config, tools.registry);
  const worker = createWorker(tools, () => Promise.resolve(false), policy.checkMove);
  return {
    ...createLocalMirror({
      looks: observatory.as(keychain),
      keychain,
      worker,
      budget: config.submitBudget,
      retry: config.retry,
      policy,
      measure: createForecaster(tools),
      selection: selectionOf(config),
      presence: createPresence(tools.registry, config.verify),
    }),
    close: () => tools.registry.close(),
  };
}

export interface InspectionRequest {
  image: string;
  /** The target: host, or host and path. */
  repository: string;
  choice: Choice;
  /** Absent: as configured. */
  level?: VerifyLevel | undefined;
  /** Absent: receipts are not looked at. */
  evidence?: Evidence | undefined;
}

/** Looks at targets with this machine's logins. Throws MirrorError. */
export function createInspector(config: Config): {
  inspect(request: InspectionRequest, signal: AbortSignal): Promise<Inspection>;
  close(): Promise<void>;
} {
  const pacer = createPacer(config.pacing);
  const registry = createRegistryClient(config, allowAll, pacer);
  const keychain = createKeychain(config);
  return {
    inspect: ({ image, repository, choice, level = config.verify, evidence }, signal) => {
      const selection = select(choice, selectionOf(config));
      const means = { registry, pacer, keychain, evidence };
      return inspect(routeOf(image, repository), selection, level, means, signal);
    },
    close: () => registry.close(),
  };
}
