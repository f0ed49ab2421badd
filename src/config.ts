import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { parseRegistry } from './core/reference.ts';
import type { ProxySettings } from './lib/http.ts';

const seconds = (what: string) => z.number().nonnegative().describe(`${what}, in seconds`);

const secret = z
  .union([
    z.strictObject({ env: z.string().min(1).describe('Name of the environment variable that holds it') }),
    z.strictObject({ file: z.string().min(1).describe('Path of the file that holds it') }),
  ])
  .describe('Where the secret is; never the secret itself');

const registry = z.strictObject({
  host: z
    .string()
    .refine((host) => isRegistryHost(host), 'is no registry host; write it like quay.io or localhost:5000')
    .describe('Registry host, with port if any: quay.io, localhost:5000, docker.io'),
  username: z.string().min(1).optional().describe('User or robot name'),
  password: secret.optional(),
  ca: z.string().optional().describe('PEM file with the private CA of this host'),
  insecure: z
    .boolean()
    .optional()
    .describe('Allow plain HTTP and unchecked certificates. Loopback hosts are plain HTTP anyway'),
});

const fileSchema = z.strictObject({
  host: z.string().min(1).default('127.0.0.1').describe('Address to listen on (DRAY_HOST)'),
  port: z.int().min(0).max(65535).default(9090).describe('Port to listen on (DRAY_PORT)'),
  url: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe('Public base URL, used in links to pages (DRAY_URL)'),
  dataDir: z.string().min(1).default('.dray').describe('Data folder (DRAY_DATA_DIR)'),
  databaseUrl: z
    .url({ protocol: /^postgres(?:ql)?$/ })
    .optional()
    .describe('PostgreSQL; absent: embedded in the data folder (DRAY_DATABASE_URL)'),
  freshness: seconds('How old a look at source and target may be when an image is said to be there')
    .max(86_400)
    .default(5),
  submitBudget: seconds('How long a submit may wait for a registry that is down for a moment')
    .min(1)
    .max(300)
    .default(10),
  overwrite: z
    .enum(['same-origin', 'always'])
    .default('same-origin')
    .describe('May a target that was mirrored from another source repository be overwritten?'),
  copies: z.int().min(1).max(256).default(4).describe('How many copies run at once'),
  skopeo: z
    .strictObject({
      path: z.string().min(1).default('skopeo').describe('Command or path of Skopeo'),
      // The queue's jobs live a day at most.
      timeLimit: seconds('How long one copy may take').min(1).max(85_000).default(3600),
    })
    .prefault({}),
  dockerConfig: z
    .union([z.string().min(1), z.literal(false)])
    .optional()
    .describe('Docker config.json with logins and credential helpers; false: none. Absent: the user’s own'),
  logLevel: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace']).default('info'),
  registries: z.array(registry).default([]),
});

export type RegistryEntry = z.infer<typeof registry>;

export interface Config extends z.infer<typeof fileSchema> {
  /** DRAY_API_KEY: an administrator key accepted as is; for a client, the key it sends. */
  apiKey?: string;
  /** DRAY_URL, where it is set: the service that the command line has to use. */
  namedUrl?: string;
  /** File with the key that a first start makes; the command line on the same machine reads it. */
  keyFile: string;
  proxy: ProxySettings;
  /** Passwords of `registries`, by host, already read. */
  passwords: Map<string, string>;
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
    ...z.toJSONSchema(fileSchema, { io: 'input', target: 'draft-7' }),
    title: 'dray.yaml',
  };
}

/** Environment variables that stand for a setting of the file; they win over it. */
const variables: Record<string, { key: keyof z.infer<typeof fileSchema>; number?: true }> = {
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
  const parsed = fileSchema.safeParse(values);
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
    ...(names.has('url') && config.url !== undefined && { namedUrl: config.url }),
    passwords: readPasswords(config.registries, env, atFile),
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
  if (issue.code === 'unrecognized_keys')
    return `${shown}: unknown setting ${issue.keys.map((key) => `"${key}"`).join(', ')}. Remove it or correct its name; dray.schema.json lists all.`;
  return `${shown}: ${issue.message}. ${hintFor(String(first), setting)}`;
}

function hintFor(first: string, setting: string): string {
  if (setting.endsWith('password')) return 'Write `password: {env: NAME}` or `password: {file: PATH}`.';
  const hint: Record<string, string> = {
    port: 'Give a port from 0 to 65535, such as 9090.',
    url: 'Give an absolute URL, such as https://dray.example.com.',
    databaseUrl: 'Give a URL such as postgres://user@host/dray, or leave it out for the embedded database.',
  };
  return hint[first] ?? 'See dray.schema.json for what is allowed.';
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
    if (!password) continue;
    let value: string | undefined;
    if ('env' in password) {
      value = env[password.env];
      if (!value)
        throw new ConfigError(
          `registries (${host}).password: the variable ${password.env} is not set. Set it, or remove the entry.`,
        );
    } else {
      const setting = `registries (${host}).password`;
      // Editors and `echo` end a file with a newline that is no part of the secret.
      value = readFileSync(readable(atFile(password.file), setting), 'utf8').replace(/\r?\n$/, '');
      if (!value) throw new ConfigError(`${setting}: ${password.file} is empty. Write the password into it.`);
    }
    passwords.set(parseRegistry(host), value);
  }
  return passwords;
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

function isRegistryHost(host: string): boolean {
  try {
    parseRegistry(host);
    return true;
  } catch {
    return false;
  }
}

function pick(env: NodeJS.ProcessEnv, names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])));
}
