import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MirrorError } from './errors.ts';
import { formatReference, isLoopback, parsePrefix, parseReference } from './reference.ts';

const D = `sha256:${'0123456789abcdef'.repeat(4)}` as const;

describe('parseReference', () => {
  it.each([
    ['ubuntu', 'docker.io/library/ubuntu:latest'],
    ['ubuntu:22.04', 'docker.io/library/ubuntu:22.04'],
    ['biocontainers/bwa:0.7.17', 'docker.io/biocontainers/bwa:0.7.17'],
    ['index.docker.io/ubuntu', 'docker.io/library/ubuntu:latest'],
    ['registry-1.docker.io/a/b', 'docker.io/a/b:latest'],
    ['registry.hub.docker.com/library/x', 'docker.io/library/x:latest'],
    ['localhost/a', 'localhost/a:latest'],
    ['localhost:5000/a/b/c:1', 'localhost:5000/a/b/c:1'],
    ['[::1]:5000/a', '[::1]:5000/a:latest'],
    ['QUAY.io/a/b', 'quay.io/a/b:latest'],
    ['quay.io:443/a/b', 'quay.io/a/b:latest'],
    ['quay.io:0443/a/b', 'quay.io/a/b:latest'],
    ['quay.io:08443/a/b', 'quay.io:8443/a/b:latest'],
    ['registry-1.docker.io:443/a/b', 'docker.io/a/b:latest'],
    ['localhost:443/a', 'localhost:443/a:latest'],
    ['127.1:80/a', '127.0.0.1/a:latest'],
    ['[0:0::1]:5000/a', '[::1]:5000/a:latest'],
    [`ghcr.io/a/b@${D}`, `ghcr.io/a/b@${D}`],
    [`ghcr.io/a/b:1@${D}`, `ghcr.io/a/b:1@${D}`],
    ['a__b/c-d--e/f.g', 'docker.io/a__b/c-d--e/f.g:latest'],
  ])('reads %s as %s', (text, full) => {
    expect(formatReference(parseReference(text))).toBe(full);
  });

  it.each([
    ['', 'no repository'],
    ['docker://ubuntu', 'scheme'],
    ['https://quay.io/a/b', 'scheme'],
    ['Ubuntu', 'lower case'],
    ['quay.io/', 'no repository'],
    ['quay.io//a', 'no valid part'],
    ['a/../b', 'no valid part'],
    ['a:b:c', 'no valid part'],
    ['a:', 'no valid tag'],
    ['a:-x', 'no valid tag'],
    [`a:${'x'.repeat(129)}`, 'no valid tag'],
    ['a@sha256:abc', 'no sha256'],
    ['a@md5:d41d8cd98f00b204e9800998ecf8427e', 'no sha256'],
    [`a@${D.toUpperCase()}`, 'no sha256'],
    ['host.io:99999/a', 'no valid port'],
    ['-x.io/a', 'no valid registry host'],
    ['1.2.3.400/a', 'no valid registry host'],
    ['user:pw@quay.io/a', 'no sha256'],
    ['a b', 'no valid part'],
    [`${'a'.repeat(300)}/b`, 'longer than 255'],
    ['a'.repeat(2000), 'longer than 1024'],
  ])('refuses %j and says why', (text, why) => {
    expect(() => parseReference(text)).toThrow(
      expect.objectContaining({ code: 'invalid_reference', message: expect.stringContaining(why) as string }),
    );
  });

  it('reads what it has written back to the same parts', () => {
    const part = fc.stringMatching(/^[a-z0-9]{1,8}(?:(?:\.|_|__|-)[a-z0-9]{1,4})?$/);
    const host = fc.constantFrom(
      'docker.io',
      'quay.io',
      'localhost',
      'localhost:5000',
      '127.0.0.1:81',
      '[::1]:5000',
    );
    const reference = fc.record(
      {
        registry: host,
        path: fc.array(part, { minLength: 2, maxLength: 4 }).map((parts) => parts.join('/')),
        tag: fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}$/),
        digest: fc.constant(D),
      },
      { requiredKeys: ['registry', 'path', 'tag'] },
    );
    fc.assert(
      fc.property(reference, (value) => {
        expect(parseReference(formatReference(value))).toEqual(value);
      }),
    );
  });

  it('answers any text with a reference of the grammar or with invalid_reference, and quickly', () => {
    const alphabet = fc.constantFrom(
      ...Array.from('ab0.:/@-_[]%A \n\u0000é'),
      'sha256:',
      'docker.io/',
      'library/',
      '..',
    );
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 300 }),
      fc.array(alphabet, { maxLength: 80 }).map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(text, (value) => {
        try {
          const { registry, path, tag, digest } = parseReference(value);
          expect(`${registry}/${path}`).toMatch(/^[a-z0-9.:[\]-]+(\/[a-z0-9][a-z0-9._-]*)+$/);
          expect(path).not.toContain('..');
          expect(tag ?? digest).toBeDefined();
        } catch (error) {
          expect(error).toBeInstanceOf(MirrorError);
          expect((error as MirrorError).code).toBe('invalid_reference');
        }
      }),
      { numRuns: 5000 },
    );
  });
});

it('isLoopback knows this machine by name and by address, and nothing else', () => {
  for (const host of ['localhost', 'localhost:5000', '127.0.0.1:1', '127.9.9.9', '[::1]:5000', '[::1]'])
    expect(isLoopback(host)).toBe(true);
  for (const host of ['localhost.example.com', '128.0.0.1', 'quay.io', '127.0.0.1.nip.io', '[::2]'])
    expect(isLoopback(host)).toBe(false);
});

describe('parsePrefix', () => {
  it.each([
    ['quay.io', { registry: 'quay.io' }],
    ['QUAY.io/', { registry: 'quay.io' }],
    ['index.docker.io/library', { registry: 'docker.io', path: 'library' }],
    ['localhost:5000/a/b/', { registry: 'localhost:5000', path: 'a/b' }],
    ['[::1]:5000/a/b:1.2', { registry: '[::1]:5000', path: 'a/b', tag: '1.2' }],
  ])('reads %s', (text, prefix) => {
    expect(parsePrefix(text)).toEqual(prefix);
  });

  it.each([
    ['', 'registry host'],
    ['library/ubuntu', 'registry host'],
    ['ubuntu', 'registry host'],
    ['quay.io/Acme', 'lower case'],
    ['quay.io/a:', 'no valid tag'],
    [`quay.io/a@${D}`, 'no valid part'],
    ['quay.io/a%', 'no valid part'],
  ])('refuses %j', (text, why) => {
    expect(() => parsePrefix(text)).toThrow(why);
  });
});
