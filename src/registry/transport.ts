import { Readable } from 'node:stream';
import { type Dispatcher, request } from 'undici';
import type { Credential } from '../core/credential.ts';
import { MirrorError } from '../core/errors.ts';
import { isLoopback } from '../core/reference.ts';
import type { AddressPolicy, Lookup } from '../lib/address.ts';
import { createDispatchers, type ProxySettings } from '../lib/http.ts';
import { createLeases, type Lease } from '../lib/lease.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import { classifyAnswer, classifyNetworkError, type Doing } from './errors.ts';
import { readRealm, type RegistrySettings } from './realm.ts';
import { keyOf, readToken, type TokenRequest } from './token.ts';

/** One call to a registry's `/v2/` API. */
export interface Call {
  registry: string;
  method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  /** Below `/v2/`; built from checked parts only. */
  path: string;
  /** Token scope, such as `repository:a/b:pull`. */
  scope: string | undefined;
  /** For messages: "reading quay.io/a/b:1". */
  what: string;
  credential: Credential | undefined;
  signal: AbortSignal;
  headers?: Record<string, string>;
  /** A stream can be sent once: a call with one must have been let in by another before. */
  body?: Uint8Array | Readable;
  /** A redirect to another host is an answer, and not followed. */
  stays?: true;
}

export type Answer = Dispatcher.ResponseData;

/** Sends calls, logged in where the registry asks for it. */
export interface Transport {
  /** @throws MirrorError for network failures and for what stays 401 after a login. Other statuses are the caller's. */
  send(call: Call): Promise<Answer>;
  close(): Promise<void>;
}

export interface TransportOptions {
  hosts: Map<string, RegistrySettings>;
  proxy: ProxySettings;
  /** Where connections may go, those of redirects and to token servers included. */
  policy: AddressPolicy;
  lookup?: Lookup;
  /** Hears of every answer of a registry itself. */
  onAnswer?: (call: Call, status: number, headers: Answer['headers']) => void;
}

const redirectLimit = 5;
/** More registries than anybody uses, and no more than memory likes: who may ask may also make names up. */
const challengeLimit = 10_000;
const tokenLimit = 5000;
/** Milliseconds that a token server may take, however long its callers would wait. */
const tokenPatience = 15_000;
const redirects = new Set([301, 302, 303, 307, 308]);
/** Characters of an error's or a token's body that are read. */
const bodyLimit = 64 * 1024;

export function createTransport({ hosts, onAnswer, ...options }: TransportOptions): Transport {
  const dispatchers = createDispatchers({ hosts, ...options, isLocal: isLoopback });
  const tokens = createLeases<string>({ limit: tokenLimit, patience: tokenPatience });
  // What a host asked for last: later calls log in at once, in one round trip.
  const challenges = new Map<string, Challenge>();
  // Hosts marked insecure that turned out to speak plain HTTP.
  const plain = new Set<string>();

  function base(registry: string): URL {
    // Docker Hub's API lives elsewhere than its name.
    if (registry === 'docker.io') return new URL('https://registry-1.docker.io');
    const { ca, insecure } = hosts.get(registry) ?? {};
    const http = plain.has(registry) || (isLoopback(registry) && ca === undefined && !insecure);
    return new URL(`${http ? 'http' : 'https'}://${registry}`);
  }

  /** Follows redirects, without the login as soon as scheme, host or port differ, and never down to plain HTTP. */
  async function exchange(
    url: URL,
    call: Call,
    headers: Record<string, string>,
    doing: Doing,
  ): Promise<Answer> {
    const { method, body, signal } = call;
    let at = url;
    let sent = headers;
    for (let hop = 0; ; hop++) {
      const dispatcher = dispatchers.for(at, at.origin === url.origin ? call.registry : at.host);
      const answer = await request(at, { method, headers: sent, body: body ?? null, signal, dispatcher });
      if (at.origin === url.origin) onAnswer?.(call, answer.statusCode, answer.headers);
      // Its challenge is not the registry's: whoever follows it gives the login to a stranger.
      if (answer.statusCode === 401 && at.origin !== url.origin) {
        await discard(answer);
        throw new MirrorError(
          'protocol',
          `${doing.host} redirects to ${at.host}, which asks for a login of its own, when ${doing.what}.`,
        );
      }
      const location = answer.headers['location'];
      if (!redirects.has(answer.statusCode) || typeof location !== 'string') return answer;
      const next = URL.canParse(location, at.href) ? new URL(location, at) : undefined;
      if (call.stays && next?.origin !== url.origin) return answer;
      await discard(answer);
      if (
        !next ||
        hop === redirectLimit ||
        !['GET', 'HEAD'].includes(method) ||
        !/^https?:$/.test(next.protocol)
      )
        throw new MirrorError(
          'protocol',
          `${doing.host} redirects where Dray can't follow, when ${doing.what}.`,
        );
      if (at.protocol === 'https:' && next.protocol === 'http:')
        throw new MirrorError(
          'protocol',
          `${doing.host} redirects from HTTPS to plain HTTP, when ${doing.what}.`,
        );
      if (next.origin !== at.origin) {
        sent = { ...sent };
        delete sent['authorization'];
      }
      at = next;
    }
  }

  async function attempt(call: Call, authorization: string | undefined, doing: Doing): Promise<Answer> {
    const headers = { 'user-agent': 'dray', ...call.headers, ...(authorization && { authorization }) };
    const url = new URL(`/v2/${call.path}`, base(call.registry));
    try {
      return await exchange(url, call, headers, doing);
    } catch (error) {
      const classified = classifyNetworkError(error, doing);
      const mayBePlain = url.protocol === 'https:' && hosts.get(call.registry)?.insecure;
      if (!mayBePlain || !['tls', 'protocol', 'reset', 'refused'].includes(classified.code)) throw classified;
      const overPlain = new URL(url.href.replace('https:', 'http:'));
      const answer = await exchange(overPlain, call, headers, doing).catch(() => undefined);
      // Go says 400 to plain HTTP on a TLS port: this one speaks TLS and was only away for a moment.
      if (!answer || answer.statusCode === 400) throw classified;
      plain.add(call.registry);
      return answer;
    }
  }

  function tokenRequest(
    { scheme, parameters }: Challenge,
    { registry, scope = parameters.get('scope'), credential }: Call,
    doing: Doing,
  ): TokenRequest | undefined {
    if (scheme !== 'bearer') return undefined;
    const settings = hosts.get(registry) ?? {};
    const realm = readRealm(parameters.get('realm') ?? '', { registry, settings, credential }, doing);
    return { realm, service: parameters.get('service'), scope, credential };
  }

  /** The Authorization value that answers a challenge; undefined when we have nothing for it. */
  async function authorize(
    challenge: Challenge | undefined,
    call: Call,
    doing: Doing,
  ): Promise<string | undefined> {
    const { credential } = call;
    if (challenge?.scheme === 'basic' && credential && 'password' in credential) return basic(credential);
    const wanted = challenge && tokenRequest(challenge, call, doing);
    return wanted && `Bearer ${await getToken(wanted, call, doing)}`;
  }

  async function getToken(wanted: TokenRequest, call: Call, doing: Doing): Promise<string> {
    const { host } = wanted.realm;
    const asking = { ...doing, host, what: `getting a token from ${host} for ${doing.what}` };
    try {
      return await tokens.get(keyOf(wanted), call.signal, (signal) =>
        fetchToken(wanted, call.registry, asking, signal),
      );
    } catch (error) {
      throw classifyNetworkError(error, asking);
    }
  }

  async function fetchToken(
    { realm, service, scope, credential }: TokenRequest,
    registry: string,
    asking: Doing,
    signal: AbortSignal,
  ): Promise<Lease<string>> {
    const query = new URLSearchParams({ ...(service && { service }), ...(scope && { scope }) });
    let answer: Answer;
    // With the CA of its registry, as Skopeo does it.
    const options = { signal, dispatcher: dispatchers.for(realm, registry) };
    if (credential && 'identityToken' in credential) {
      query.set('grant_type', 'refresh_token');
      query.set('client_id', 'dray');
      query.set('refresh_token', credential.identityToken);
      const headers = { 'content-type': 'application/x-www-form-urlencoded' };
      answer = await request(realm, { ...options, method: 'POST', headers, body: query.toString() });
    } else {
      const url = new URL(realm);
      for (const [name, value] of query) url.searchParams.append(name, value);
      const headers = credential ? { authorization: basic(credential) } : {};
      answer = await request(url, { ...options, method: 'GET', headers });
    }
    const body = await readText(answer, asking);
    // Token servers say 400, 401 or 403 for a wrong password.
    const status = [400, 403].includes(answer.statusCode) ? 401 : answer.statusCode;
    if (status !== 200) throw classifyAnswer({ status, headers: answer.headers, body }, asking);
    const token = readToken(body);
    if (!token) throw new MirrorError('protocol', `${realm.host} gave no token, when ${asking.what}.`);
    return token;
  }

  return {
    async send(call) {
      const doing: Doing = { what: call.what, host: call.registry, loggedIn: call.credential !== undefined };
      const known = challenges.get(call.registry);
      const sent = await authorize(known, call, doing);
      const first = await attempt(call, sent, doing);
      if (first.statusCode !== 401) return first;
      const body = await readText(first, doing);
      if (call.body instanceof Readable)
        throw classifyAnswer({ status: 401, headers: first.headers, body }, doing);
      const challenge = chooseChallenge(first.headers['www-authenticate']);
      if (challenges.size >= challengeLimit) challenges.clear();
      if (challenge) challenges.set(call.registry, challenge);
      // What was sent may have expired, or been made for an earlier challenge: once more, with a new one.
      const stale = challenge && tokenRequest(challenge, call, doing);
      if (stale && sent) tokens.drop(keyOf(stale), sent.slice('Bearer '.length));
      const authorization = await authorize(challenge, call, doing);
      if (!authorization) throw classifyAnswer({ status: 401, headers: first.headers, body }, doing);
      const second = await attempt(call, authorization, doing);
      if (second.statusCode !== 401) return second;
      throw classifyAnswer(
        { status: 401, headers: second.headers, body: await readText(second, doing) },
        doing,
      );
    },
    close: () => dispatchers.close(),
  };
}

function chooseChallenge(header: string | string[] | undefined): Challenge | undefined {
  const offered = parseChallenges([header ?? []].flat().join(', '));
  return (
    offered.find(({ scheme }) => scheme === 'bearer') ?? offered.find(({ scheme }) => scheme === 'basic')
  );
}

function basic(credential: Credential): string {
  const { username = '' } = credential;
  const password = 'password' in credential ? credential.password : '';
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** Lets go of an answer's body so that its connection can be used again. */
export async function discard(answer: Answer): Promise<void> {
  await answer.body.dump({ limit: bodyLimit }).catch(() => undefined);
}

/** Reads at most `limit` bytes. @throws MirrorError `protocol` when there are more. */
export async function readBytes(answer: Answer, limit: number, doing: Doing): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of answer.body as AsyncIterable<Uint8Array>) {
      size += chunk.length;
      if (size > limit)
        throw new MirrorError('protocol', `${doing.host} sent more than ${limit} bytes, when ${doing.what}.`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw classifyNetworkError(error, doing);
  }
  return Buffer.concat(chunks);
}

export async function readText(answer: Answer, doing: Doing): Promise<string> {
  return Buffer.from(await readBytes(answer, bodyLimit, doing)).toString('utf8');
}
