import { canonicalRegistry, type Repository } from '../core/reference.ts';

/**
 * The entry that fits a repository best: keys are hosts, or hosts and paths, with or without a scheme and `/v1/` or
 * `/v2/` at the end (containers-auth.json(5)); the longest wins, and of equals the first.
 */
export function bestMatch<T>(
  entries: readonly (readonly [string, T])[],
  { registry, path }: Repository,
): T | undefined {
  const byName = new Map<string, T>();
  for (const [key, value] of entries) {
    const name = normalize(key);
    if (!byName.has(name)) byName.set(name, value);
  }
  const parts = `${registry}/${path}`.split('/');
  for (let length = parts.length; length > 0; length--) {
    const entry = byName.get(parts.slice(0, length).join('/'));
    if (entry !== undefined) return entry;
  }
  return undefined;
}

/** The host of such a key. */
export function hostOf(key: string): string {
  return normalize(key).split('/')[0] ?? '';
}

function normalize(key: string): string {
  const bare = key
    .trim()
    .replace(/^https?:\/\//i, '')
    .replace(/\/(?:v[12]\/?)?$/, '');
  const [host = '', ...path] = bare.split('/');
  return [canonicalRegistry(host), ...path].join('/');
}
