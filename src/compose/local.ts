import { join } from 'node:path';
import type { Config } from '../config.ts';
import { createKeychain } from '../keychain/installation.ts';
import { createLocalMirror, type LocalMirror } from '../mirror/local.ts';
import { createObservatory } from '../mirror/look.ts';
import { createPresence } from '../mirror/presence.ts';
import { createWorker } from '../mirror/worker.ts';
import { createTools, selectionOf } from './tools.ts';

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
      selection: selectionOf(config),
      isComplete: createPresence(tools.registry, config.verify),
    }),
    close: () => tools.registry.close(),
  };
}
