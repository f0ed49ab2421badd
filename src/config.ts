import type { KeyObject } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { normalizeEndpoint } from './core/grant.ts';
import { parseRegistry } from './core/reference.ts';
import { closest } from './lib/closest.ts';
import { describeFault } from './lib/fault.ts';
import type { ProxySettings } from './lib/http.ts';
import { readPublicKeys } from './lib/signed.ts';
import { type PolicyRule, type RegistryEntry, type Secret, type Settings, settings } from './settings.ts';

export interface Config extends Settings {
  /** DRAY_API_KEY: an administrator key accepted as is; for a client, the key it sends. */
  apiKey?: string;
  /** TOWER_ACCESS_TOKEN, for a client, with the installation and workspace that it is of: as the Wave CLI reads them. */
  platformToken?: { token: string; endpoint?: string; workspaceId?: string };
  /** DRAY_URL, where it is set: the service that the command line has to use. */
  namedUrl?: string;
  /** File with the key that a first start makes; the command line on the same machine reads it. */
  keyFile: string;
  proxy: ProxySettings;
  /** How hosts are reached, and to which token servers they may send a login. */
  hosts: Map<string, Pick<RegistryEntry, 'ca' | 'insecure' | 'tokenServers'>>;
  /** Public keys of `policy`, by the name of the rule. */
  policyKeys: Map<string, KeyObject[]>;
  /** Passwords of `registries`, by host, already read. */
  passwords: Map<string, string>;
  /**
   * Installations of Seqera Platform that may pair, in order, with the token of each. Read by the service only: who
   * runs a command need not have the tokens. @throws ConfigError.
   */
  readPairings: () => Map<string, string>;
  /** Master keys from DRAY_SECRET_KEY, 32 bytes each, the present one first; absent: those in `secretKeyFile`. */
  secretKeys?: Buffer[];
  secretKeyFile: string;
  /** The few variables that a child process gets. */
  childEnv: Record<string, string>;
}

/** A setting that stops the start. `message` has its name, the fault and the fix, one a line. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** The JSON Schema of dray.yaml, for editors. */
export function configJsonSchema(): object {
  return {
    ...z.toJSONSchema(settings, { io: 'input', target: 'draft-7' }),
    title: 'dray.yaml',
  };
}

/** Environment variables that stand for a setting of the file; they win over it. */
const variables: Record<string, { key: keyof Settings; number?: true }> = {
  DRAY_HOST: { key: 'host' },
  DRAY_PORT: { key: 'port', number: true },
  DRAY_URL: { key: 'url' },
  DRAY_DATA_DIR: { key: 'dataDir' },
  DRAY_DATABASE_URL: { key: 'databaseUrl' },
};

/**
 * Reads the settings: built-in defaults, then the file that DRAY_CONFIG names (or ./dray.yaml where it exists),
 * then the environment. Relative paths in the file are relative to the file.
 * @throws ConfigError that names every wrong setting at once.
 */
export function loadConfig(env: NodeJS.ProcessEnv = process.env, cwd: string = process.cwd()): Config {
  const named = env['DRAY_CONFIG'];
  const path = named ? resolve(cwd, named) : join(cwd, 'dray.yaml');
  const fromFile = named || existsSync(path) ? readSettings(path) : {};
  const values: Record<string, unknown> = { ...fromFile };
  const names = new Map<string, string>();
  for (const [name, { key, number }] of Object.entries(variables)) {
    const value = env[name];
    if (value === undefined || value === '') continue;
    values[key] = number && /^[0-9]+$/.test(value) ? Number(value) : value;
    names.set(key, name);
  }
  const parsed = settings.safeParse(values, { error: describeFault });
  if (!parsed.success)
    throw new ConfigError(parsed.error.issues.map((issue) => explain(issue, names, path)).join('\n'));
  const config = parsed.data;
  const base = dirname(path);
  const atFile = (value: string) => resolve(base, value);
  const home = env['HOME'] ?? homedir();
  const dockerDir = env['DOCKER_CONFIG'] ?? join(home, '.docker');
  const apiKey = env['DRAY_API_KEY'];
  const registries = config.registries.map((entry) => ({
    ...entry,
    host: parseRegistry(entry.host),
    ...(entry.ca !== undefined && { ca: readable(atFile(entry.ca), `registries (${entry.host}).ca`) }),
    ...(entry.key && { key: { file: readable(atFile(entry.key.file), `registries (${entry.host}).key`) } }),
  }));
  const dataDir =
    names.has('dataDir') || fromFile['dataDir'] === undefined
      ? resolve(cwd, config.dataDir)
      : atFile(config.dataDir);
  return {
    ...config,
    dataDir,
    keyFile: join(dataDir, 'api-key'),
    dockerConfig:
      typeof config.dockerConfig === 'string'
        ? readable(atFile(config.dockerConfig), 'dockerConfig')
        : (config.dockerConfig ?? join(dockerDir, 'config.json')),
    registries,
    ...(apiKey ? { apiKey } : {}),
    ...(env['TOWER_ACCESS_TOKEN'] && {
      platformToken: {
        token: env['TOWER_ACCESS_TOKEN'],
        ...(env['TOWER_API_ENDPOINT'] && { endpoint: env['TOWER_API_ENDPOINT'] }),
        ...(env['TOWER_WORKSPACE_ID'] && { workspaceId: env['TOWER_WORKSPACE_ID'] }),
      },
    }),
    ...(names.has('url') && config.url !== undefined && { namedUrl: config.url }),
    hosts: new Map(
      registries.map(({ host, ca, insecure, tokenServers }) => [host, { ca, insecure, tokenServers }]),
    ),
    policyKeys: readPolicyKeys(config.policy, atFile),
    passwords: readPasswords(config.registries, env, atFile),
    readPairings: () => readPairings(config.platform.endpoints, env, atFile),
    ...(env['DRAY_SECRET_KEY'] && {
      secretKeys: parseSecretKeys(env['DRAY_SECRET_KEY'], 'DRAY_SECRET_KEY'),
    }),
    secretKeyFile: join(dataDir, 'secret-key'),
    ecr: {
      ...config.ecr,
      ...(config.ecr.lifecyclePolicy !== undefined && {
        lifecyclePolicy: readable(atFile(config.ecr.lifecyclePolicy), 'ecr.lifecyclePolicy'),
      }),
    },
    proxy: {
      http: env['http_proxy'] ?? env['HTTP_PROXY'],
      https: env['https_proxy'] ?? env['HTTPS_PROXY'],
      no: env['no_proxy'] ?? env['NO_PROXY'],
    },
    childEnv: pick(env, [
      ...['PATH', 'HOME', 'TMPDIR', 'LANG', 'XDG_RUNTIME_DIR', 'XDG_DATA_HOME', 'DOCKER_CONFIG'],
      ...['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'http_proxy', 'https_proxy', 'no_proxy'],
      ...['SSL_CERT_FILE', 'SSL_CERT_DIR'],
    ]),
  };
}

function readSettings(path: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError(
      `DRAY_CONFIG: ${path} can't be read (${(error as Error).message}). Name a readable file.`,
    );
  }
  const document = parseDocument(text);
  const fault = document.errors[0];
  if (fault) throw new ConfigError(`${path}: this is no YAML: ${fault.message}`);
  const settings: unknown = document.toJS() ?? {};
  if (typeof settings !== 'object' || settings === null || Array.isArray(settings))
    throw new ConfigError(`${path}: the file must hold settings, such as "port: 9090".`);
  return settings as Record<string, unknown>;
}

function explain(issue: z.core.$ZodIssue, names: Map<string, string>, path: string): string {
  const [first, ...others] = issue.path;
  const setting = issue.path.reduce<string>(
    (text, part) =>
      typeof part === 'number' ? `${text}[${part}]` : text ? `${text}.${String(part)}` : String(part),
    '',
  );
  const variable = others.length === 0 ? names.get(String(first)) : undefined;
  const shown = variable ?? (setting ? `${setting} (in ${path})` : path);
  if (issue.code === 'unrecognized_keys') {
    const known = namesAt(issue.path);
    const meant = issue.keys.flatMap((key) => closest(key, known) ?? []);
    const advice =
      meant.length > 0
        ? `Did you mean ${meant.map((name) => `"${name}"`).join(', ')}?`
        : 'Remove it or correct its name; dray.schema.json lists all.';
    return `${shown}: unknown setting ${issue.keys.map((key) => `"${key}"`).join(', ')}. ${advice}`;
  }
  return `${shown}: ${issue.message}. ${hintFor(String(first), setting)}`;
}

interface JsonSchema {
  properties?: Record<string, JsonSchema>;
  items?: JsonSchema;
  anyOf?: JsonSchema[];
}

/** The names of the settings that may stand at a place in the file. */
function namesAt(path: readonly PropertyKey[]): string[] {
  const all = (schemas: JsonSchema[]): JsonSchema[] =>
    schemas.flatMap((schema) => [schema, ...all(schema.anyOf ?? [])]);
  let schemas = all([configJsonSchema()]);
  for (const part of path)
    schemas = all(
      schemas.flatMap(({ properties, items }) =>
        typeof part === 'number' ? (items ?? []) : (properties?.[String(part)] ?? []),
      ),
    );
  return schemas.flatMap(({ properties = {} }) => Object.keys(properties));
}

function hintFor(first: string, setting: string): string {
  const secret = /(?:password|token)$/.exec(setting)?.[0];
  if (secret)
    return `Write \`${secret}: {env: NAME}\` or \`${secret}: {file: PATH}\`; the secret itself does not go into the file.`;
  if (/^platform\.endpoints.*url$/.test(setting))
    return 'Give the base URL of its API, such as https://seqera.example.com/api.';
  const hint: Record<string, string> = {
    port: 'Give a port from 0 to 65535, such as 9090.',
    url: 'Give an absolute URL, such as https://dray.example.com.',
    databaseUrl: 'Give a URL such as postgres://user@host/dray, or leave it out for the embedded database.',
  };
  return hint[first] ?? 'See dray.schema.json for what is allowed.';
}

/** @throws ConfigError for a file that can't be read, or holds no public key. */
function readPolicyKeys(
  rules: readonly PolicyRule[],
  atFile: (path: string) => string,
): Map<string, KeyObject[]> {
  const read = (file: string, setting: string) => {
    const path = readable(atFile(file), setting);
    try {
      return readPublicKeys(readFileSync(path, 'utf8'));
    } catch (error) {
      throw new ConfigError(
        `${setting}: ${path} ${(error as Error).message}. Name a file with a public key, such as cosign.pub.`,
      );
    }
  };
  return new Map(
    rules.flatMap(({ name, signedBy }) =>
      signedBy ? [[name, signedBy.flatMap((file) => read(file, `policy (${name}).signedBy`))]] : [],
    ),
  );
}

function readPasswords(
  entries: readonly RegistryEntry[],
  env: NodeJS.ProcessEnv,
  atFile: (path: string) => string,
): Map<string, string> {
  const passwords = new Map<string, string>();
  for (const { host, username, password } of entries) {
    if (!password !== !username)
      throw new ConfigError(
        `registries (${host}): username and password belong together. Give both or neither.`,
      );
    if (password)
      passwords.set(parseRegistry(host), readSecret(password, `registries (${host}).password`, env, atFile));
  }
  return passwords;
}

/** @throws ConfigError when the variable or the file is not there, or empty. */
function readSecret(
  from: Secret,
  setting: string,
  env: NodeJS.ProcessEnv,
  atFile: (path: string) => string,
): string {
  if ('env' in from) {
    const value = env[from.env];
    if (value) return value;
    throw new ConfigError(`${setting}: the variable ${from.env} is not set. Set it, or remove the entry.`);
  }
  // Editors and `echo` end a file with a newline that is no part of the secret.
  const value = readFileSync(readable(atFile(from.file), setting), 'utf8').replace(/\r?\n$/, '');
  if (value) return value;
  throw new ConfigError(`${setting}: ${from.file} is empty. Write the secret into it.`);
}

function readPairings(
  entries: Settings['platform']['endpoints'],
  env: NodeJS.ProcessEnv,
  atFile: (path: string) => string,
): Map<string, string> {
  const pairings = new Map<string, string>();
  const add = (url: string, token: string, setting: string) => {
    const endpoint = normalizeEndpoint(url);
    // One URL with a query, or several in one, would be an endpoint that nobody ever has.
    if (endpoint === undefined || !/^https?:\/\/[^\s,;?#]+$/i.test(url))
      throw new ConfigError(
        `${setting}: ${url} is no endpoint. Give the base URL of its API, such as https://seqera.example.com/api.`,
      );
    if ((pairings.get(endpoint) ?? token) !== token)
      throw new ConfigError(`${setting}: ${url} is there twice, with two tokens. Leave one of them out.`);
    pairings.set(endpoint, token);
  };
  const named = (env['DRAY_PLATFORM_ENDPOINTS'] ?? '').split(',').map((url) => url.trim());
  const token = env['DRAY_PAIRING_TOKEN'];
  if (token && !named.some((each) => each !== ''))
    throw new ConfigError(
      'DRAY_PAIRING_TOKEN is set, but DRAY_PLATFORM_ENDPOINTS is not. Set both or neither.',
    );
  for (const url of named.filter((each) => each !== '')) {
    if (!token)
      throw new ConfigError(
        'DRAY_PAIRING_TOKEN is not set. Set it to the token with which the endpoints in DRAY_PLATFORM_ENDPOINTS pair.',
      );
    add(url, token, 'DRAY_PLATFORM_ENDPOINTS');
  }
  entries.forEach(({ url, token: from }, index) => {
    const setting = `platform.endpoints[${index}]`;
    add(url, readSecret(from, `${setting}.token`, env, atFile), `${setting}.url`);
  });
  return pairings;
}

/**
 * Reads master keys, separated by commas or white space; the first is the present one.
 * @throws ConfigError, which quotes none of it.
 */
export function parseSecretKeys(text: string, setting: string): Buffer[] {
  const keys = text
    .split(/[\s,]+/)
    .filter((part) => part !== '')
    .map((part) => Buffer.from(part, 'base64'));
  if (keys.length === 0 || keys.some((key) => key.length !== 32))
    throw new ConfigError(
      `${setting}: a master key is 32 bytes in base64. Make one with: openssl rand -base64 32`,
    );
  return keys;
}

function readable(path: string, setting: string): string {
  try {
    readFileSync(path);
  } catch (error) {
    throw new ConfigError(
      `${setting}: ${path} can't be read (${(error as NodeJS.ErrnoException).code}). Name a readable file.`,
    );
  }
  return path;
}

function pick(env: NodeJS.ProcessEnv, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])));
}
