import { MirrorError } from '../core/errors.ts';
import { checkPath, parseReference, parseRegistry, type Reference } from '../core/reference.ts';

/** A source with the place that it is mirrored to. */
export interface Route {
  source: Reference;
  target: Reference;
}

/** Tags of the OCI distribution-spec ("Referrers Tag Schema") and of cosign, made of the digest of an image. */
const attached = /^sha(?:256|512)-[a-f0-9]{64,128}(?:\.(?:sig|att|sbom))?$/;

/**
 * Reads what a caller asks for: `image` as Docker reads it, `repository` a host or a host and path. The target
 * keeps the source's whole path, tag and digest; nothing is added to the given repository (wave-api, "Source →
 * target": `ubuntu` to `quay.io` is `quay.io/library/ubuntu:latest`).
 * @throws MirrorError `invalid_reference`, `invalid_request` or `same_registry`.
 */
export function routeOf(image: string, repository: string): Route {
  const source = parseReference(image);
  if (source.tag !== undefined && attached.test(source.tag))
    throw new MirrorError(
      'invalid_request',
      `The tag ${source.tag.slice(0, 20)}… is where what refers to an image is kept: at the target that is added to, and never replaced.`,
      { remedy: 'Ask for the image itself: what refers to it comes along.' },
    );
  const { registry, path } = parseTarget(repository);
  if (registry === source.registry)
    throw new MirrorError(
      'same_registry',
      `Source and target are both on ${registry}; a mirror goes to another registry.`,
    );
  const target = { ...source, registry, path: path === '' ? source.path : `${path}/${source.path}` };
  if (registry.length + 1 + target.path.length > 255)
    throw new MirrorError('invalid_request', 'The name of the target would be longer than 255 characters.');
  return { source, target };
}

function parseTarget(text: string): { registry: string; path: string } {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text))
    throw new MirrorError(
      'invalid_request',
      `The target ${quote(text)} starts with a scheme; leave that out.`,
    );
  const trimmed = text.replace(/\/$/, '');
  const slash = trimmed.indexOf('/');
  const host = slash < 0 ? trimmed : trimmed.slice(0, slash);
  const path = slash < 0 ? '' : trimmed.slice(slash + 1);
  if (path.includes('@') || path.includes(':'))
    throw new MirrorError(
      'invalid_request',
      `The target ${quote(text)} has a tag or digest; it keeps the source's.`,
    );
  // A lone word is a path on Docker Hub to Docker, but a target names the registry first.
  if (!/[.:]/.test(host) && host !== 'localhost')
    throw new MirrorError(
      'invalid_request',
      `The target ${quote(text)} does not start with a registry host such as quay.io or localhost:5000.`,
    );
  const registry = parseRegistry(host, text);
  if (slash >= 0) checkPath(path, text);
  return { registry, path };
}

function quote(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
}
