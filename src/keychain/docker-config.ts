import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import type { Credential } from '../core/credential.ts';
import { MirrorError } from '../core/errors.ts';
import { run } from '../lib/spawn.ts';
import type { Keychain } from './keychain.ts';
import { bestMatch, hostOf } from './match.ts';

interface AuthEntry {
  auth?: unknown;
  username?: unknown;
  password?: unknown;
  identitytoken?: unknown;
}

interface DockerConfig {
  auths: Record<string, AuthEntry>;
  credHelpers: Record<string, unknown>;
  credsStore: unknown;
}

/** What Docker itself calls Docker Hub in its file; helpers know it by this name only. */
const dockerHub = 'https://index.docker.io/v1/';

/** Milliseconds that a credential helper may take; some ask a keyring, none should ask a person here. */
const helperLimit = 10_000;

/**
 * The logins of a Docker `config.json`, its credential helpers and its store included. The file is read again
 * when it changes. A missing file has no logins.
 * @throws MirrorError `logins_unreadable` that names the file, `credentials_rejected` that names the helper, but
 * nothing that is in it; `timeout` when the signal stops a helper.
 */
export function createDockerConfigKeychain(path: string, env: Record<string, string>): Keychain {
  let cached: { stamp: string; config: DockerConfig } | undefined;

  async function load(): Promise<DockerConfig | undefined> {
    const info = await stat(path).catch(() => undefined);
    if (!info) return undefined;
    const stamp = `${info.mtimeMs} ${info.size} ${info.ino}`;
    if (cached?.stamp !== stamp) cached = { stamp, config: await readConfig(path) };
    return cached.config;
  }

  return {
    async resolve(repository, signal) {
      const config = await load();
      if (!config) return undefined;
      const server = repository.registry === 'docker.io' ? dockerHub : repository.registry;
      // As Docker does it: a helper of the host's own, else the store for all, else the file.
      const own = config.credHelpers[server] ?? config.credHelpers[repository.registry];
      const helper = own ?? config.credsStore;
      if (typeof helper === 'string' && helper !== '') {
        const found = await askHelper(helper, server, env, signal);
        if (found || own !== undefined) return found;
      }
      return fromEntry(bestMatch(Object.entries(config.auths), repository), path);
    },
  };
}

/** The hosts that the file has a login for, or a helper of their own. @throws MirrorError `logins_unreadable`. */
export async function listDockerHosts(path: string): Promise<string[]> {
  if (!existsSync(path)) return [];
  const { auths, credHelpers } = await readConfig(path);
  return [...new Set([...Object.keys(auths), ...Object.keys(credHelpers)].map(hostOf))];
}

async function readConfig(path: string): Promise<DockerConfig> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw unreadable(path, `can't be read (${(error as NodeJS.ErrnoException).code})`);
  });
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    // The parser's message quotes the file, which holds logins.
    throw unreadable(path);
  }
  if (typeof parsed !== 'object' || parsed === null) throw unreadable(path);
  const { auths, credHelpers, credsStore } = parsed as Record<string, unknown>;
  return { auths: objectOr(auths), credHelpers: objectOr(credHelpers), credsStore };
}

function objectOr<T>(value: unknown): Record<string, T> {
  return typeof value === 'object' && value !== null ? (value as Record<string, T>) : {};
}

function unreadable(path: string, why = 'is no Docker configuration file'): MirrorError {
  return new MirrorError('logins_unreadable', `${path} ${why}.`);
}

function fromEntry(entry: AuthEntry | undefined, path: string): Credential | undefined {
  if (typeof entry !== 'object') return undefined;
  let { username, password } = entry;
  if (typeof entry.auth === 'string' && entry.auth !== '') {
    const decoded = Buffer.from(entry.auth, 'base64').toString('utf8').replace(/\0+$/, '');
    const colon = decoded.indexOf(':');
    if (colon < 0) throw unreadable(path);
    [username, password] = [decoded.slice(0, colon), decoded.slice(colon + 1)];
  }
  if (typeof entry.identitytoken === 'string' && entry.identitytoken !== '')
    return { ...(typeof username === 'string' && { username }), identityToken: entry.identitytoken };
  if (typeof username !== 'string' || typeof password !== 'string' || username === '') return undefined;
  return { username, password };
}

/** Protocol: docker/docker-credential-helpers; `get` takes the server on its input and answers JSON. */
async function askHelper(
  helper: string,
  server: string,
  env: Record<string, string>,
  signal: AbortSignal,
): Promise<Credential | undefined> {
  const command = `docker-credential-${helper}`;
  const failed = (why: string, cause?: unknown) =>
    new MirrorError('credentials_rejected', `The credential helper ${command} ${why}.`, {
      remedy: 'Run it by hand, mend it, or set `dockerConfig: false`.',
      cause,
    });
  if (!/^[\w.-]+$/.test(helper)) throw failed('has no valid name');
  let output = '';
  const limit = AbortSignal.timeout(helperLimit);
  const exit = await run(command, ['get'], {
    env,
    input: server,
    signal: AbortSignal.any([signal, limit]),
    onLine: (line, stream) => {
      if (stream === 'stdout') output += `${line}\n`;
    },
  }).catch((error: unknown) => {
    throw failed('can not be run', error);
  });
  if (signal.aborted)
    throw new MirrorError('timeout', `There was no time left for the credential helper ${command}.`);
  if (limit.aborted) throw failed(`took longer than ${helperLimit / 1000} s`);
  if (exit.code !== 0) {
    if (/credentials not found/i.test(output)) return undefined;
    throw failed(`ended with status ${exit.code ?? 'unknown'}`);
  }
  let answer: { Username?: unknown; Secret?: unknown };
  try {
    answer = JSON.parse(output) as typeof answer;
  } catch {
    throw failed('answered something else than JSON');
  }
  const { Username: username, Secret: secret } = answer;
  if (typeof username !== 'string' || typeof secret !== 'string' || secret === '') return undefined;
  return username === '<token>' ? { identityToken: secret } : { username, password: secret };
}
