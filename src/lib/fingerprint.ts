import { hash } from 'node:crypto';

/** A name under which things may be kept that depend on secrets: the same for the same parts, and it tells nothing of them. */
export function fingerprint(...parts: unknown[]): string {
  return hash('sha256', JSON.stringify(parts), 'hex');
}
