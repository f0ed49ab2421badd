import { describe, expect, it } from 'vitest';
import { formatReference } from '../core/reference.ts';
import { routeOf } from './target.ts';

const D = `sha256:${'a'.repeat(64)}`;

describe('routeOf', () => {
  it.each([
    ['ubuntu', 'quay.io', 'quay.io/library/ubuntu:latest'],
    ['docker.io/biocontainers/bwa:0.7.17', 'quay.io/lib/', 'quay.io/lib/biocontainers/bwa:0.7.17'],
    [`ghcr.io/a/b@${D}`, 'localhost:5000', `localhost:5000/a/b@${D}`],
    [`ghcr.io/a/b:1@${D}`, 'localhost:5000', `localhost:5000/a/b:1@${D}`],
    ['quay.io/a/b:1', 'docker.io/acme', 'docker.io/acme/a/b:1'],
    ['quay.io/a/b:1', 'localhost', 'localhost/a/b:1'],
  ])('takes %s into %s as %s', (image, repository, target) => {
    expect(formatReference(routeOf(image, repository).target)).toBe(target);
  });

  it.each([
    ['ubuntu', 'docker.io', 'same_registry'],
    ['ubuntu', 'index.docker.io/acme', 'same_registry'],
    ['quay.io/a/b', 'QUAY.io/c', 'same_registry'],
    ['ubuntu', 'https://quay.io', 'invalid_request'],
    ['ubuntu', 'quay.io/a:1', 'invalid_request'],
    ['ubuntu', `quay.io/a@${D}`, 'invalid_request'],
    ['ubuntu', 'quay', 'invalid_request'],
    ['ubuntu', '', 'invalid_request'],
    // What others have added at the target would be gone.
    [`quay.io/a/b:sha256-${'a'.repeat(64)}`, 'ghcr.io', 'invalid_request'],
    [`quay.io/a/b:sha256-${'a'.repeat(64)}.sig`, 'ghcr.io', 'invalid_request'],
    [`quay.io/a/b:sha512-${'a'.repeat(64)}.att@${D}`, 'ghcr.io', 'invalid_request'],
    ['quay.io/a/b', 'quay.io:443/c', 'same_registry'],
    ['ubuntu', 'quay.io/A', 'invalid_reference'],
    ['ubuntu', 'quay.io/../x', 'invalid_reference'],
    ['ubuntu', 'quay.io//', 'invalid_reference'],
    ['ubuntu', `quay.io/${'a/'.repeat(130)}b`, 'invalid_request'],
  ])('refuses %s into %s with %s', (image, repository, code) => {
    expect(() => routeOf(image, repository)).toThrow(expect.objectContaining({ code }));
  });
});
