import { request } from 'undici';
import type { Credential } from '../core/credential.ts';
import { MirrorError } from '../core/errors.ts';
import type { Dispatchers } from '../lib/http.ts';
import { beforeEnd, createLeases, type Lease } from '../lib/lease.ts';
import type { RegistryEntry } from '../settings.ts';
import type { Keychain } from './keychain.ts';
import { classifyOutage, inTime } from './outage.ts';

/** Azure Container Registry, its clouds in China and for the US government included. */
export function isAzureHost(host: string): boolean {
  return /^[a-z0-9-]+(?:\.[a-z0-9-]+)*\.azurecr\.(?:io|cn|us)$/.test(host);
}

/** The registry's own audience, in all clouds (Azure SDK, azcontainerregistry, "defaultAudience"). */
const scope = 'https://containerregistry.azure.net/.default';
/** What `az acr login` and Docker call a login by token. */
const username = '00000000-0000-0000-0000-000000000000';
/** Milliseconds that getting a token may take. */
const patience = 8000;
/** Milliseconds that a token is used for which does not say when it ends; they live three hours. */
const defaultLife = 3_600_000;
const bodyLimit = 64 * 1024;

/** Entries with `login: azure`: the identity that this service runs under. */
export function createAzureKeychain(entries: readonly RegistryEntry[], dispatchers: Dispatchers): Keychain {
  const mine = new Set(entries.filter(({ login }) => login === 'azure').map(({ host }) => host));
  const tokens = createLeases<string>({ limit: 1000, patience });

  async function fetchToken(host: string, signal: AbortSignal): Promise<Lease<string>> {
    const accessToken = await identify(host, signal);
    const what = `trading a token of Azure's for one of ${host}`;
    let status: number;
    let body: string;
    try {
      const url = new URL(`https://${host}/oauth2/exchange`);
      const form = new URLSearchParams({
        grant_type: 'access_token',
        service: host,
        access_token: accessToken,
      });
      const answer = await request(url, {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded', 'user-agent': 'dray' },
        body: form.toString(),
        signal,
        dispatcher: dispatchers.for(url, host),
      });
      status = answer.statusCode;
      body = await readText(answer.body);
    } catch (error) {
      const outage = classifyOutage(error, host, what);
      throw outage ?? new MirrorError('protocol', `${host} gave no readable answer, when ${what}.`);
    }
    if (status !== 200) throw refusal(status, host, what);
    const token = readRefreshToken(body);
    if (token === undefined) throw new MirrorError('protocol', `${host} gave no token, when ${what}.`);
    return { value: token, expires: beforeEnd(endOf(token)) };
  }

  return {
    async resolve({ registry }, signal): Promise<Credential | undefined> {
      if (!mine.has(registry)) return undefined;
      const identityToken = await inTime(`getting a token of Azure's for ${registry}`, () =>
        tokens.get(registry, signal, (own) => fetchToken(registry, own)),
      );
      return { username, identityToken };
    },
  };
}

/** A token of Microsoft Entra for the identity that this service runs under. */
async function identify(host: string, signal: AbortSignal): Promise<string> {
  const { DefaultAzureCredential } = await import('@azure/identity');
  const what = `getting a token of Azure's for ${host}`;
  try {
    const { token } = await new DefaultAzureCredential().getToken(scope, { abortSignal: signal });
    return token;
  } catch (error) {
    // Every kind of identity that there is not has failed in its own way, some by a connection that was refused.
    const { name } = error as Error;
    const outage = name === 'AggregateAuthenticationError' ? undefined : classifyOutage(error, 'Azure', what);
    if (outage) throw outage;
    // The library's messages quote answers.
    throw new MirrorError('credentials_rejected', `Azure gives no token to this service, when ${what}.`, {
      remedy:
        'Run it under a managed or workload identity, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET.',
      cause: new Error(name),
    });
  }
}

function refusal(status: number, host: string, what: string): MirrorError {
  const said = `${host} answered ${status} when ${what}`;
  if (status === 429) return new MirrorError('rate_limited', `${said}: too many requests.`);
  if (status >= 500) return new MirrorError('registry_unavailable', `${said}.`);
  if (status === 403) return new MirrorError('denied', `${said}: the identity lacks the right.`);
  return new MirrorError('credentials_rejected', `${said}: it does not know this identity.`, {
    remedy: 'Give the identity the role AcrPull or AcrPush on this registry, in the tenant of the registry.',
  });
}

async function readText(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > bodyLimit) throw new Error('too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function readRefreshToken(body: string): string | undefined {
  try {
    const { refresh_token: token } = JSON.parse(body) as { refresh_token?: unknown };
    return typeof token === 'string' && /^[\x21-\x7e]+$/.test(token) ? token : undefined;
  } catch {
    return undefined;
  }
}

/** The end (Date.now()) that a JWT says it has. */
function endOf(token: string): number {
  try {
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')) as {
      exp?: unknown;
    };
    if (typeof claims.exp === 'number') return claims.exp * 1000;
  } catch {
    // It is one of another kind; the registry knows what it is.
  }
  return Date.now() + defaultLife;
}
