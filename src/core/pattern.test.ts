import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { globMatches, imageMatches, type ImagePattern, parseImagePattern } from './pattern.ts';
import { parseReference } from './reference.ts';

const digest = `sha256:${'a'.repeat(64)}`;

function matches(pattern: string, image: string): boolean {
  return imageMatches(parseImagePattern(pattern) as ImagePattern, parseReference(image));
}

describe('a pattern of images', () => {
  it.each([
    ['docker.io/library/*', 'ubuntu', true],
    ['docker.io/library/*', 'ubuntu:22.04', true],
    ['docker.io/library/*', 'acme/ubuntu', false],
    ['index.docker.io/library/*', 'ubuntu', true],
    ['QUAY.io/acme/*', 'quay.io/acme/app', true],
    ['quay.io/acme/*', 'quay.io/acme/team/app', false],
    ['quay.io/acme/**', 'quay.io/acme/team/app', true],
    ['quay.io/acme/**', 'quay.io/acmeevil/app', false],
    ['quay.io/acme/**', 'quay.io.evil.example/acme/app', false],
    ['quay.io/**/app', 'quay.io/a/b/app', true],
    ['quay.io/acme/app', 'quay.io/acme/app2', false],
    ['quay.io/acme/app', 'evil.example/quay.io/acme/app', false],
    ['*.example.com/**', 'registry.example.com/a/b', true],
    ['*.example.com/**', 'evil.com/a.example.com/b', false],
    ['localhost:5000/**', 'localhost:5000/a', true],
    ['localhost:*/**:v*', 'localhost:5000/a:v1', true],
    ['localhost:5000/**', 'localhost:5001/a', false],
    ['quay.io/acme/**:v*', 'quay.io/acme/app:v1.2', true],
    ['quay.io/acme/**:v*', 'quay.io/acme/app:latest', false],
    ['quay.io/acme/**:v*', `quay.io/acme/app@${digest}`, false],
    ['quay.io/acme/**:*', `quay.io/acme/app@${digest}`, false],
    ['quay.io/acme/**:v*', `quay.io/acme/app:v1@${digest}`, true],
    ['quay.io/acme/**', `quay.io/acme/app@${digest}`, true],
    ['**:latest', 'ubuntu', true],
    ['**', `ghcr.io/a/b@${digest}`, true],
  ])('%s and %s: %s', (pattern, image, fits) => {
    expect(matches(pattern, image)).toBe(fits);
  });

  it('leaves tags out where they say nothing', () => {
    const pattern = parseImagePattern('quay.io/acme/**:v*') as ImagePattern;
    expect(imageMatches(pattern, parseReference(`quay.io/acme/app@${digest}`), true)).toBe(true);
    expect(imageMatches(pattern, parseReference(`quay.io/other/app@${digest}`), true)).toBe(false);
  });

  it.each([
    ['ubuntu', 'names no path'],
    ['*', 'names no path'],
    ['localhost:5000', 'names no path'],
    ['acme/app', 'does not start with a registry host'],
    ['quay.io/', 'a path that no image can have'],
    ['quay.io/Acme/*', 'lower case'],
    ['quay.io//a', 'a path that no image can have'],
    ['quay.io/a:', 'a tag that no image can have'],
    [`quay.io/a@${digest}`, 'names a digest'],
    ['https://quay.io/a', 'starts with a scheme'],
    ['docker.io/*', 'write docker.io/library/*'],
    [`quay.io/${'a'.repeat(600)}`, 'is longer than'],
  ])('is not %s', (text, why) => {
    expect(parseImagePattern(text)).toContain(why);
  });
});

describe('globMatches', () => {
  const name = fc.stringMatching(/^[a-c]{1,3}(\/[a-c]{1,3}){0,4}$/);

  it('says the same as a regular expression', () => {
    const glob = fc.stringMatching(/^[ab/*]{0,8}$/);
    const text = fc.stringMatching(/^[ab/]{0,8}$/);
    fc.assert(
      fc.property(glob, text, (pattern, value) => {
        const source = pattern.replace(/\*\*|\*/g, (star) => (star === '*' ? '[^/]*' : '.*'));
        expect(globMatches(pattern, value)).toBe(new RegExp(`^${source}$`).test(value));
      }),
      { numRuns: 3000 },
    );
  });

  it('takes a name for itself, and for what has a part of it replaced', () => {
    fc.assert(
      fc.property(name, fc.nat(), (text, at) => {
        expect(globMatches(text, text)).toBe(true);
        const parts = text.split('/');
        parts[at % parts.length] = '*';
        expect(globMatches(parts.join('/'), text)).toBe(true);
        expect(globMatches(parts.join('/'), `${text}/more`)).toBe(false);
      }),
    );
  });

  it('is not kept busy by many stars', () => {
    // A regular expression with as many would not come to an end.
    expect(globMatches(`${'**a'.repeat(100)}b`, 'a'.repeat(5000))).toBe(false);
  });
});
