import type { Config } from '../config.ts';
import { everything, select, type Selection } from '../core/selection.ts';
import { createProcessExecutor } from '../executor/process.ts';
import { type AddressPolicy, type AddressRules, allowAll, isLoopbackHost } from '../lib/address.ts';
import type { Guard } from '../lib/guard.ts';
import type { Launcher } from '../lib/launcher.ts';
import { parseRetryAfter } from '../lib/retry-after.ts';
import { createPacer, type Pacer } from '../mirror/pacing.ts';
import { createPolicy, type Policy } from '../mirror/policy.ts';
import type { Tools } from '../mirror/copier.ts';
import { createRegistry } from '../registry/client.ts';
import { readBudget } from '../registry/rate-limit.ts';
import type { Registry } from '../registry/registry.ts';

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
export function rulesOf({ host, network, registries }: Config): AddressRules {
  // The name under which Docker Hub's API is reached.
  const own = (registry: string) => (registry === 'docker.io' ? 'registry-1.docker.io' : registry);
  return {
    allow: network.allow,
    named: registries.flatMap((entry) => [own(entry.host), ...(entry.tokenServers ?? [])]),
    loopback: isLoopbackHost(host),
  };
}

/** What is wanted of an image by default. */
export function selectionOf(config: Config): Selection {
  return select(config, everything);
}

/** The rules of dray.yaml, with their keys. */
export function policyOf(config: Config, registry: Registry): Policy {
  const rules = config.policy.map((rule) => ({ ...rule, keys: config.policyKeys.get(rule.name) }));
  return createPolicy(rules, registry);
}

/** What a service has that a single command has not. */
export interface Guarded {
  run: Launcher['run'];
  policy: AddressPolicy;
  guard: Guard;
}

/** @param cacheDir where Skopeo remembers which repositories have a blob, so that it can mount it; root's is elsewhere. */
export function createTools(config: Config, runDir: string, cacheDir: string, guarded?: Guarded): Tools {
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
    verify: config.verify,
  };
}
