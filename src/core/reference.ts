import { isDigest, type Digest } from './digest.ts';
import { MirrorError } from './errors.ts';

/** A repository: the registry's host (with port, if any) and the path under it. */
export interface Repository {
  /** `quay.io`, `localhost:5000`, `[::1]:5000`; Docker Hub is always `docker.io`. */
  registry: string;
  /** `library/ubuntu`; lower case, never empty. */
  path: string;
}

/** An image in a repository. At least one of tag and digest is present. */
export interface Reference extends Repository {
  tag?: string;
  digest?: Digest;
}

// The grammar is the one of distribution/reference (regexp.go), which the OCI distribution spec quotes.
const component = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const label = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const hostPattern = new RegExp(String.raw`^(?:${label}(?:\.${label})*|\[[a-fA-F0-9:]+\])(?::[0-9]{1,5})?$`);
/** distribution/reference: NameTotalLengthMax, of host and path together. */
const nameLimit = 255;

/** Other names of Docker Hub that people paste; all mean the same images. */
const dockerHubAliases = new Set(['index.docker.io', 'registry-1.docker.io', 'registry.hub.docker.com']);

/**
 * Reads a reference as Docker does: no host means docker.io, a one-part path there means `library/`, neither
 * tag nor digest means `latest`.
 * @throws MirrorError `invalid_reference`, saying which part is wrong.
 */
export function parseReference(text: string): Reference {
  if (text.length > 1024) throw invalid(`${text.slice(0, 64)}…`, 'it is longer than 1024 characters');
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) throw invalid(text, 'it starts with a scheme; leave that out');
  let rest = text;
  let digest: Digest | undefined;
  const at = rest.indexOf('@');
  if (at >= 0) {
    const candidate = rest.slice(at + 1);
    if (!isDigest(candidate)) throw invalid(text, 'what follows the @ is no sha256 or sha512 digest');
    digest = candidate;
    rest = rest.slice(0, at);
  }
  let tag: string | undefined;
  const colon = rest.lastIndexOf(':');
  if (colon > rest.lastIndexOf('/')) {
    tag = rest.slice(colon + 1);
    if (!tagPattern.test(tag)) throw invalid(text, `"${tag.slice(0, 140)}" is no valid tag`);
    rest = rest.slice(0, colon);
  }
  const { registry, path } = parseRepository(rest, text);
  if (!tag && !digest) tag = 'latest';
  return { registry, path, ...(tag !== undefined && { tag }), ...(digest && { digest }) };
}

function parseRepository(name: string, text: string): Repository {
  const slash = name.indexOf('/');
  const first = name.slice(0, Math.max(slash, 0));
  const hasHost = slash > 0 && (/[.:]/.test(first) || first === 'localhost');
  const registry = hasHost ? parseRegistry(first, text) : 'docker.io';
  let path = hasHost ? name.slice(slash + 1) : name;
  if (path === '') throw invalid(text, 'it names no repository');
  if (registry === 'docker.io' && !path.includes('/')) path = `library/${path}`;
  checkPath(path, text);
  if (registry.length + 1 + path.length > nameLimit)
    throw invalid(text, 'its name is longer than 255 characters');
  return { registry, path };
}

/**
 * Reads a registry host such as `quay.io` or `localhost:5000`, as {@link canonicalRegistry} writes it.
 * @throws MirrorError `invalid_reference`.
 */
export function parseRegistry(host: string, text: string = host): string {
  const notHost = () => invalid(text, `"${host.slice(0, 140)}" is no valid registry host`);
  if (!hostPattern.test(host)) throw notHost();
  const port = /:([0-9]+)$/.exec(host)?.[1];
  if (port !== undefined && !host.endsWith(']') && (Number(port) < 1 || Number(port) > 65535))
    throw invalid(text, `${port} is no valid port`);
  if (!URL.canParse(`https://${host}`)) throw notHost();
  return canonicalRegistry(host);
}

/** Everything in a registry, everything under a path there, or one tag of a repository. */
export interface Prefix {
  registry: string;
  /** Whole parts of a repository's name. With a tag: its whole name. */
  path?: string;
  tag?: string;
}

/**
 * Reads `quay.io`, `quay.io/acme` (and all that is under it) or `quay.io/acme/app:1`. The host is never left out: `acme`
 * could be both a repository and what repositories are under.
 * @throws MirrorError `invalid_reference`.
 */
export function parsePrefix(text: string): Prefix {
  const slash = text.indexOf('/');
  const host = slash < 0 ? text : text.slice(0, slash);
  if (!/[.:]/.test(host) && host !== 'localhost')
    throw invalid(text, 'it does not start with a registry host such as docker.io or localhost:5000');
  const registry = parseRegistry(host, text);
  const rest = slash < 0 ? '' : text.slice(slash + 1).replace(/\/$/, '');
  if (rest === '') return { registry };
  const colon = rest.indexOf(':');
  const path = colon < 0 ? rest : rest.slice(0, colon);
  checkPath(path, text);
  if (colon < 0) return { registry, path };
  const tag = rest.slice(colon + 1);
  if (!tagPattern.test(tag)) throw invalid(text, `"${tag.slice(0, 140)}" is no valid tag`);
  return { registry, path, tag };
}

/**
 * A registry host in the one form that rules, logins and records know it by: in lower case, without the port that goes without
 * saying, addresses in full, and Docker Hub's other names made `docker.io`. Checks nothing.
 */
export function canonicalRegistry(host: string): string {
  const lower = host.toLowerCase();
  const plain = `https://${lower}`;
  if (!hostPattern.test(lower) || !URL.canParse(plain)) return lower;
  // Whoever reaches a registry under a name that no rule knows has walked round them all.
  const scheme = isLoopback(new URL(plain).hostname) ? 'http' : 'https';
  const canonical = new URL(`${scheme}://${lower}`).host;
  return dockerHubAliases.has(canonical) ? 'docker.io' : canonical;
}

/** @throws MirrorError `invalid_reference` unless every part of the path fits the grammar. */
export function checkPath(path: string, text: string): void {
  const wrong = path.split('/').find((part) => !component.test(part));
  if (wrong === undefined) return;
  const hint = /[A-Z]/.test(wrong) ? '; repository names are in lower case' : '';
  throw invalid(text, `"${wrong.slice(0, 140)}" is no valid part of a repository name${hint}`);
}

/** `registry/path`. */
export function formatRepository({ registry, path }: Repository): string {
  return `${registry}/${path}`;
}

/** `registry/path[:tag][@digest]`; {@link parseReference} reads it back to the same parts. */
export function formatReference(reference: Reference): string {
  const { tag, digest } = reference;
  return `${formatRepository(reference)}${tag ? `:${tag}` : ''}${digest ? `@${digest}` : ''}`;
}

/** Tells whether a registry host is this machine; Docker treats those as plain HTTP by default. */
export function isLoopback(registry: string): boolean {
  const host = registry.replace(/:[0-9]+$/, '');
  return host === 'localhost' || host === '[::1]' || /^127(?:\.[0-9]{1,3}){3}$/.test(host);
}

function invalid(text: string, why: string): MirrorError {
  const shown = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  return new MirrorError('invalid_reference', `${JSON.stringify(shown)} is no image reference: ${why}.`);
}
