import type { Credential } from '../core/credential.ts';
import { MirrorError } from '../core/errors.ts';
import { isLoopback } from '../core/reference.ts';
import type { HostSettings } from '../lib/http.ts';
import type { Doing } from './errors.ts';

/** How one registry is reached, and which hosts beside its own may see its login. */
export interface RegistrySettings extends HostSettings {
  tokenServers?: readonly string[] | undefined;
}

/**
 * Registries whose token server is another host, as their challenges name it. All others that are known have theirs
 * at home: ghcr.io, quay.io, gcr.io, *.pkg.dev, *.azurecr.io, public.ecr.aws, nvcr.io, icr.io, dhi.io, lscr.io.
 */
const elsewhere: [registry: RegExp, realm: RegExp][] = [
  [/^docker\.io$/, /^auth\.docker\.io$/],
  [/^registry\.gitlab\.com$/, /^gitlab\.com$/],
  [/^registry\.(?:connect\.|access\.)?redhat\.(?:io|com)$/, /^(?:sso\.redhat\.com|registry\.redhat\.io)$/],
  [/^registry\.(?:suse|rancher)\.com$/, /^scc\.suse\.com$/],
  [/^registry\.digitalocean\.com$/, /^api\.digitalocean\.com$/],
  [/^docker\.elastic\.co$/, /^docker-auth\.elastic\.co$/],
  [/^nvcr\.io$/, /^authn\.nvidia\.com$/],
  // Region and kind are in the name; what a customer may call his own begins with oss-.
  [/\.aliyuncs\.com$/, /^dockerauth(?:-ee|-vpc|-ee-vpc)?\.(?:cn|ap|us|eu|me)-[a-z0-9-]+\.aliyuncs\.com$/],
];

interface Asking {
  registry: string;
  settings: RegistrySettings;
  credential: Credential | undefined;
}

/**
 * Reads where a registry sends us for a token. Whoever may ask names the registry, and the registry names this URL: it
 * must not send us round our own machine, nor a password in clear or to a stranger.
 */
export function readRealm(text: string, { registry, settings, credential }: Asking, doing: Doing): URL {
  const realm = URL.canParse(text) ? new URL(text) : undefined;
  if (!realm || !/^https?:$/.test(realm.protocol))
    throw new MirrorError(
      'protocol',
      `${doing.host} asks for a token but names no server for it, when ${doing.what}.`,
    );
  const here = isLoopback(registry);
  const near = nameOf(realm.host) === nameOf(registry) || (here && isLoopback(realm.host));
  const inClear = realm.protocol === 'http:' && !(near && (here || settings.insecure));
  if (inClear || (isLoopback(realm.host) && !near))
    throw new MirrorError(
      'tls',
      `${doing.host} sends Dray to ${realm.host} for a token, ${inClear ? 'in clear' : 'on this machine'}; Dray does not go there.`,
      { remedy: 'Give the token server HTTPS and a name of its own.' },
    );
  if (credential && !mayHaveLogin(realm, registry, settings.tokenServers ?? []))
    throw new MirrorError(
      'token_server_refused',
      `${doing.host} wants its login sent to ${realm.host}, which is not known to belong to it, when ${doing.what}.`,
    );
  return realm;
}

function mayHaveLogin({ protocol, host }: URL, registry: string, tokenServers: readonly string[]): boolean {
  const isIt = (named: string) =>
    URL.canParse(`${protocol}//${named}`) && new URL(`${protocol}//${named}`).host === host;
  return (
    [registry, ...tokenServers].some(isIt) ||
    elsewhere.some(([from, to]) => from.test(registry) && to.test(host))
  );
}

function nameOf(host: string): string {
  return host.replace(/:[0-9]+$/, '');
}
