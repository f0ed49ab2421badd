import { readFileSync } from 'node:fs';
import { getCACertificates } from 'node:tls';
import { Agent, type Dispatcher, Pool, ProxyAgent } from 'undici';
import { type AddressPolicy, checkedLookup, checkLiteral, hostOf, type Lookup } from './address.ts';
import { proxyFor } from './proxy.ts';

/** How one host is reached. */
export interface HostSettings {
  /** PEM file with CAs that count beside Node's and the system's. */
  ca?: string | undefined;
  /** Certificates are not checked. */
  insecure?: boolean | undefined;
}

export interface ProxySettings {
  http?: string | undefined;
  https?: string | undefined;
  /** Comma-separated hosts, `.suffixes`, `host:port`, or `*`. */
  no?: string | undefined;
}

export interface DispatcherOptions {
  hosts: Map<string, HostSettings>;
  proxy: ProxySettings;
  /** Hosts that never go through a proxy, whatever the settings say. */
  isLocal: (host: string) => boolean;
  /** Where connections may go. Behind a proxy it is the proxy that resolves names, so only addresses are checked there. */
  policy: AddressPolicy;
  lookup?: Lookup;
}

/** Chooses the connection pool for a URL. */
export interface Dispatchers {
  /**
   * `host` is the name under which settings are looked up; it may differ from the URL's (docker.io).
   * @throws AddressRefused
   */
  for(url: URL, host: string): Dispatcher;
  close(): Promise<void>;
}

/** Milliseconds. A registry that takes longer to connect or to begin its answer is taken to be away. */
const timeouts = { connect: 5000, headers: 15_000, body: 30_000 };

/** Keep-alive pools, one for each way of reaching a host; made when first needed. */
export function createDispatchers({ hosts, proxy, isLocal, policy, lookup }: DispatcherOptions): Dispatchers {
  const made = new Map<string, Dispatcher>();

  function create({ ca, insecure }: HostSettings, secure: boolean, via: string | undefined): Dispatcher {
    const tls = secure && {
      // Skopeo trusts what the system trusts; so do we, or a copy and its look would disagree.
      ca: [
        ...getCACertificates('default'),
        ...getCACertificates('system'),
        ...(ca === undefined ? [] : [readFileSync(ca, 'utf8')]),
      ],
      ...(insecure && { rejectUnauthorized: false }),
    };
    const common = { headersTimeout: timeouts.headers, bodyTimeout: timeouts.body, connections: 64 };
    return via === undefined
      ? new Agent({
          ...common,
          factory: (origin, options) =>
            new Pool(origin, {
              ...(options as Pool.Options),
              connect: {
                timeout: timeouts.connect,
                lookup: checkedLookup(policy, hostOf(new URL(origin)), lookup),
                ...tls,
              },
            }),
        })
      : new ProxyAgent({
          ...common,
          uri: via,
          proxyTunnel: secure,
          // Its own default for the answer to CONNECT is five minutes.
          clientFactory: (origin, options) =>
            new Pool(origin, { ...options, headersTimeout: timeouts.headers }),
          requestTls: { timeout: timeouts.connect, ...tls },
        });
  }

  return {
    for(url, host) {
      checkLiteral(policy, url);
      const settings = hosts.get(host) ?? {};
      const via = isLocal(url.host) ? undefined : proxyFor(url, proxy);
      const secure = url.protocol === 'https:';
      const key = JSON.stringify([settings.ca, settings.insecure, secure, via]);
      let dispatcher = made.get(key);
      if (!dispatcher) made.set(key, (dispatcher = create(settings, secure, via)));
      return dispatcher;
    },
    async close() {
      await Promise.all([...made.values()].map((dispatcher) => dispatcher.destroy()));
      made.clear();
    },
  };
}
