import { describe, expect, it } from 'vitest';
import { normalizeEndpoint } from './grant.ts';

describe('an endpoint', () => {
  it.each([
    ['https://api.cloud.seqera.io', 'https://api.cloud.seqera.io'],
    ['https://api.tower.nf/', 'https://api.cloud.seqera.io'],
    ['https://api.stage-tower.net', 'https://api.cloud.stage-seqera.io'],
    ['HTTPS://Seqera.Example.com:443/api//', 'https://seqera.example.com/api'],
    ['http://localhost:8080/api?x=1#y', 'http://localhost:8080/api'],
  ])('%s is written %s', (text, normal) => {
    expect(normalizeEndpoint(text)).toBe(normal);
    expect(normalizeEndpoint(normal)).toBe(normal);
  });

  it.each([
    '',
    'seqera.example.com',
    'ftp://seqera.example.com',
    'https://user:pw@seqera.example.com',
    'https://',
  ])('%j is none', (text) => {
    expect(normalizeEndpoint(text)).toBeUndefined();
  });

  it('of a million slashes costs no time', () => {
    const begun = performance.now();
    expect(normalizeEndpoint(`https://seqera.example.com/${'/'.repeat(1_000_000)}x`)).toBeUndefined();
    expect(performance.now() - begun).toBeLessThan(100);
  });
});
