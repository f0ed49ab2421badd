import { readFile } from 'node:fs/promises';
import { fetch as undiciFetch } from 'undici';
import type { Credential } from '../core/credential.ts';
import { MirrorError } from '../core/errors.ts';
import type { Dispatchers } from '../lib/http.ts';
import { beforeEnd, createLeases } from '../lib/lease.ts';
import type { RegistryEntry } from '../settings.ts';
import type { Keychain } from './keychain.ts';
import { classifyOutage, inTime } from './outage.ts';

/** Artifact Registry and, before it, Container Registry. */
export function isGoogleHost(host: string): boolean {
  return /^(?:[a-z0-9-]+\.pkg\.dev|(?:[a-z0-9-]+\.)?gcr\.io)$/.test(host);
}

// What Google's guides log in to both registries with ("Configure authentication to Artifact Registry").
const scope = 'https://www.googleapis.com/auth/cloud-platform';
const username = 'oauth2accesstoken';
/** Milliseconds that getting a token may take. */
const patience = 8000;

/** Entries with `login: google`: the identity that this service runs under, or the key file of the entry. */
export function createGoogleKeychain(entries: readonly RegistryEntry[], dispatchers: Dispatchers): Keychain {
  const mine = new Map(
    entries.filter(({ login }) => login === 'google').map(({ host, key }) => [host, key?.file]),
  );
  // By key file: hosts that have the same identity have the same token.
  const tokens = createLeases<string>({ limit: 1000, patience });

  async function fetchToken(keyFile: string | undefined, host: string, signal: AbortSignal) {
    const { GoogleAuth, JWT } = await import('google-auth-library');
    // Its own transport knows neither NO_PROXY as we do nor the system's CAs.
    const fetchImplementation = (async (url: URL, init: RequestInit) => {
      const { method, headers, body, signal: own } = init;
      return undiciFetch(url, {
        ...{ method, headers: [...new Headers(headers)], body: body as string },
        signal: AbortSignal.any([signal, ...(own ? [own] : [])]),
        dispatcher: dispatchers.for(url, url.host),
      });
    }) as unknown as typeof fetch;
    const transporterOptions = { fetchImplementation };
    try {
      const client =
        keyFile === undefined
          ? await new GoogleAuth({
              scopes: scope,
              // It matters to no token; without one the library runs gcloud to find one.
              projectId: 'unused',
              clientOptions: { transporterOptions },
            }).getClient()
          : new JWT({ ...(await readKey(keyFile)), scopes: scope, transporterOptions });
      const { token } = await client.getAccessToken();
      if (!token) throw new MirrorError('registry_unavailable', `Google gave no token for ${host}.`);
      return { value: token, expires: beforeEnd(client.credentials.expiry_date ?? Date.now()) };
    } catch (error) {
      throw classify(error, host, keyFile);
    }
  }

  return {
    async resolve({ registry }, signal): Promise<Credential | undefined> {
      if (!mine.has(registry)) return undefined;
      const keyFile = mine.get(registry);
      const password = await inTime(`getting a token of Google's for ${registry}`, () =>
        tokens.get(keyFile ?? '', signal, (own) => fetchToken(keyFile, registry, own)),
      );
      return { username, password };
    },
  };
}

/** The library's messages quote answers and key files; none of them is repeated. */
function classify(error: unknown, host: string, keyFile: string | undefined): MirrorError {
  if (error instanceof MirrorError) return error;
  const what = `getting a token for ${host}`;
  const { status } = error as { status?: unknown };
  const cause = new Error(`${(error as Error).name}, status ${Number(status ?? 0)}`);
  if (status === 429)
    return new MirrorError('rate_limited', `Google answered 429 when ${what}: too many requests.`, { cause });
  if (typeof status === 'number' && status >= 500)
    return new MirrorError('registry_unavailable', `Google answered ${status} when ${what}.`, { cause });
  const outage = typeof status === 'number' ? undefined : classifyOutage(error, 'Google', what);
  if (outage) return outage;
  const who = keyFile === undefined ? 'the identity that this service runs under' : `the key in ${keyFile}`;
  return new MirrorError('credentials_rejected', `Google gives no token to ${who}, when ${what}.`, {
    remedy:
      keyFile === undefined
        ? 'Run the service under a service account (GKE, Compute Engine), set GOOGLE_APPLICATION_CREDENTIALS, or give the entry a `key`.'
        : 'Make a new key for the service account and put it into that file.',
    cause,
  });
}

/** @throws Error for anything but the key of a service account. */
async function readKey(file: string): Promise<{ email: string; key: string }> {
  const parsed = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown> | null;
  const { client_email: email, private_key: key } = parsed ?? {};
  if (typeof email !== 'string' || typeof key !== 'string') throw new Error('No key of a service account');
  return { email, key };
}
