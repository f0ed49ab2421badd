import { z } from 'zod';
import { verifyLevels } from './core/mirror.ts';
import { parseBytes } from './core/bytes.ts';
import { parseImagePattern } from './core/pattern.ts';
import { parseRegistry } from './core/reference.ts';
import { parsePlatform } from './core/selection.ts';
import { isHostPattern, isRange } from './lib/address.ts';

const seconds = (what: string) => z.number().nonnegative().describe(`${what}, in seconds`);

const secret = z
  .union([
    z.strictObject({ env: z.string().min(1).describe('Name of the environment variable that holds it') }),
    z.strictObject({ file: z.string().min(1).describe('Path of the file that holds it') }),
  ])
  .describe('Where the secret is; never the secret itself');

const registry = z
  .strictObject({
    host: z
      .string()
      .refine((host) => isRegistryHost(host), 'is no registry host; write it like quay.io or localhost:5000')
      .describe('Registry host, with port if any: quay.io, localhost:5000, docker.io'),
    username: z.string().min(1).optional().describe('User or robot name'),
    password: secret.optional(),
    login: z
      .enum(['aws', 'google', 'azure'])
      .optional()
      .describe(
        'Instead of a password: the cloud identity that this service runs under (ECR, Artifact Registry or GCR, ACR)',
      ),
    role: z
      .string()
      .regex(
        /^arn:[a-z-]+:iam::[0-9]{12}:role\/\S+$/,
        'is no ARN of a role, such as arn:aws:iam::123456789012:role/dray',
      )
      .optional()
      .describe('With `login: aws`: a role to assume first'),
    externalId: z.string().min(2).optional().describe('External id that goes with the role'),
    key: z
      .strictObject({ file: z.string().min(1) })
      .optional()
      .describe('With `login: google`: a service-account key (JSON) instead of the ambient identity'),
    shared: z
      .boolean()
      .optional()
      .describe(
        "Callers of Seqera Platform may use this login too. Absent: only callers with this service's own keys",
      ),
    tokenServers: z
      .array(z.string().refine((host) => isRegistryHost(host), 'is no host'))
      .optional()
      .describe('Hosts beside its own that this registry may send a login to, such as auth.example.com'),
    ca: z.string().optional().describe('PEM file with the private CA of this host'),
    insecure: z
      .boolean()
      .optional()
      .describe('Allow plain HTTP and unchecked certificates. Loopback hosts are plain HTTP anyway'),
  })
  .refine(
    ({ login, username, password }) => !login || (!username && !password),
    'has both `login` and a user name',
  )
  .refine(({ login, role }) => !role || login === 'aws', 'has a role, which needs `login: aws`')
  .refine(({ role, externalId }) => role || !externalId, 'has an external id without a role')
  .refine(({ login, key }) => !key || login === 'google', 'has a key, which needs `login: google`');

const platformEndpoint = z.strictObject({
  url: z
    .url({ protocol: /^https?$/ })
    .describe("Base URL of the installation's API, such as https://seqera.example.com/api"),
  token: secret.describe('The token with which this installation may pair: its licence token'),
});

const images = (what: string) =>
  z
    .array(
      z.string().superRefine((text, issue) => {
        const read = parseImagePattern(text);
        if (typeof read === 'string') issue.addIssue({ code: 'custom', message: read });
      }),
    )
    .min(1)
    .optional()
    .describe(what);

const demands = [
  'deny',
  'allowSources',
  'allowTargets',
  'maxSize',
  'minAge',
  'signedBy',
  'immutable',
] as const;

const rule = z
  .strictObject({
    name: z.string().min(1).max(100).describe('Refusals name it'),
    tenants: z
      .array(
        z
          .string()
          .max(512)
          .refine(
            isTenantPattern,
            'is no tenant: write it like key:*, local, or https://seqera.example.com/api#workspace:7, with * for any characters',
          ),
      )
      .min(1)
      .optional()
      .describe('Scope: callers, with * for any characters, such as key:*; absent: everybody'),
    sources: images('Scope: patterns of source images; absent: all'),
    targets: images('Scope: patterns of target images; absent: all'),
    deny: z.literal(true).optional().describe('What is in scope is refused'),
    allowSources: images('What is in scope must come from one of these, such as docker.io/library/*'),
    allowTargets: images('What is in scope must go to one of these, such as quay.io/acme/**'),
    maxSize: z
      .union([z.number().nonnegative(), z.string()])
      .transform((value) => (typeof value === 'number' ? value : (parseBytes(value) ?? NaN)))
      .refine((bytes) => !Number.isNaN(bytes), 'is no size; write it like 20GB')
      .optional()
      .describe('The most compressed bytes that it may have: a number, or one with a unit (20GB, 500MiB)'),
    minAge: z
      .number()
      .positive()
      .max(36_500)
      .optional()
      .describe('Days that must have passed since it was made, by its own word'),
    signedBy: z
      .array(z.string().min(1))
      .min(1)
      .optional()
      .describe('PEM files with public keys; one of them must have signed it as cosign does'),
    immutable: z.literal(true).optional().describe('A target tag that holds another digest is not moved'),
  })
  .refine(
    (each) => demands.some((name) => each[name] !== undefined),
    `demands nothing; add ${demands.join(', ')}`,
  );

const perMinute = (what: string, fallback: number) =>
  z.int().min(0).default(fallback).describe(`${what}, a minute; 0: no limit`);

/** What dray.yaml may hold. */
export const settings = z.strictObject({
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
  platforms: z
    .array(z.string().refine(isPlatformName, 'is no platform; write it like linux/amd64 or linux/arm/v7'))
    .min(1)
    .optional()
    .describe('Which platforms of an image are copied where a request does not say; absent: all'),
  referrers: z
    .union([z.enum(['all', 'none']), z.array(z.string().min(1)).min(1)])
    .default('all')
    .describe(
      'What comes along of what refers to an image (signatures, attestations, lists of contents) where a request does not say: all, none, or these artifact types',
    ),
  verify: z
    .enum(verifyLevels)
    .default('blobs')
    .describe(
      'How a target is looked at before its tag is set: manifests (each read and hashed), blobs (and the size of each blob), full (and every byte)',
    ),
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
      stallLimit: seconds(
        'How long one copy may stand still, neither reading nor writing, before it is tried again',
      )
        .min(1)
        .max(85_000)
        .default(300),
    })
    .prefault({}),
  retry: z
    .strictObject({
      tries: z.int().min(1).max(100).default(5).describe('How many times a copy is tried'),
      firstPause: seconds('Pause after the first try; each one after is three times as long').default(1),
      longestPause: seconds('The longest pause').default(60),
    })
    .prefault({})
    .describe('What happens to copies that fail for a reason that may pass'),
  pacing: z
    .strictObject({
      firstPause: seconds(
        'Pause after a first 429 that names no time; each one after is twice as long',
      ).default(5),
      longestPause: seconds('The longest pause where no time is named').default(900),
      patience: seconds('How long a mirror may wait for rate limits in all').default(172_800),
    })
    .prefault({})
    .describe('What happens to copies that a registry lets wait; they use up no tries'),
  retention: z
    .strictObject({
      records: z
        .number()
        .positive()
        .max(36_500)
        .default(30)
        .describe('Days for which records of mirrors that have ended, and of requests, are kept'),
      logs: z
        .number()
        .positive()
        .max(36_500)
        .default(7)
        .describe('Days for which their logs and events are kept'),
    })
    .prefault({})
    .refine(({ records, logs }) => logs <= records, 'keeps logs longer than the records that they belong to')
    .describe('How long what is over stays on record'),
  receipts: z
    .strictObject({
      push: z
        .boolean()
        .default(false)
        .describe('Leave each receipt at the target, as an artifact that refers to the image'),
    })
    .prefault({})
    .describe('Signed statements of what was copied'),
  dockerConfig: z
    .union([z.string().min(1), z.literal(false)])
    .optional()
    .describe('Docker config.json with logins and credential helpers; false: none. Absent: the user’s own'),
  logLevel: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace']).default('info'),
  registries: z.array(registry).default([]),
  platform: z
    .strictObject({
      endpoints: z
        .array(platformEndpoint)
        .default([])
        .describe(
          'Installations of Seqera Platform that may pair with this service; the first is meant where a caller names none (DRAY_PLATFORM_ENDPOINTS, DRAY_PAIRING_TOKEN)',
        ),
    })
    .prefault({}),
  ecr: z
    .strictObject({
      create: z.boolean().default(true).describe('Make a repository that is missing on ECR'),
      immutableTags: z.boolean().default(false).describe('Its tags may not be moved'),
      scanOnPush: z.boolean().default(false),
      lifecyclePolicy: z.string().min(1).optional().describe('JSON file with its lifecycle policy'),
      tags: z.record(z.string().min(1), z.string()).default({}).describe('Resource tags that it gets'),
    })
    .prefault({})
    .describe('What a repository is like that Dray makes on Amazon ECR'),
  network: z
    .strictObject({
      allow: z
        .array(
          z
            .string()
            .refine(
              (entry) => isRange(entry) || isHostPattern(entry),
              'is no address, range (10.1.0.0/16) or host name (registry.corp.example, *.corp.example)',
            ),
        )
        .default([])
        .describe(
          'Addresses, ranges (10.1.0.0/16) and host names of private networks that requests may lead to; hosts under `registries` may be private anyway',
        ),
    })
    .prefault({}),
  policy: z
    .array(rule)
    .refine((rules) => new Set(rules.map(({ name }) => name)).size === rules.length, 'has a name twice')
    .default([])
    .describe('Rules that every request in their scope must keep'),
  trustedProxies: z
    .array(
      z.string().refine(
        // Whoever trusted all would let everybody invent an address.
        (text) => isRange(text) && !/\/0+$/.test(text),
        'is no address and no range of addresses; write it like 10.0.0.7 or 10.0.0.0/8',
      ),
    )
    .default([])
    .describe(
      "Addresses or ranges of proxies in front of the service whose X-Forwarded-For tells the client's address",
    ),
  limits: z
    .strictObject({
      submit: z
        .strictObject({
          perCaller: perMinute('Submits of one caller', 30_000),
          perAddress: perMinute('Submits from one address', 60_000),
        })
        .prefault({}),
      read: z
        .strictObject({
          perCaller: perMinute('Other calls of one caller', 600_000),
          perAddress: perMinute('Other calls from one address', 1_200_000),
        })
        .prefault({}),
      failedLogins: perMinute('Refused tokens and pairings from one address', 60),
    })
    .prefault({})
    .describe('How much may be asked; administrator keys have no limit'),
});

export type Settings = z.infer<typeof settings>;
export type RegistryEntry = z.infer<typeof registry>;
export type PolicyRule = z.infer<typeof rule>;
export type Secret = z.infer<typeof secret>;

/** A rule that is meant for somebody and matches nobody would be no rule. */
function isTenantPattern(text: string): boolean {
  return /\*|^key:.|^local$|#(?:workspace|user):./.test(text);
}

function isPlatformName(text: string): boolean {
  return parses(() => parsePlatform(text));
}

function isRegistryHost(host: string): boolean {
  return parses(() => parseRegistry(host));
}

function parses(read: () => unknown): boolean {
  try {
    read();
    return true;
  } catch {
    return false;
  }
}
