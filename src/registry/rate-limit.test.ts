import { describe, expect, it } from 'vitest';
import { readBudget } from './rate-limit.ts';

const now = Date.parse('2026-01-02T03:04:05Z');
const seconds = now / 1000;
const read = (headers: Record<string, string | string[]>) => readBudget(headers, now);

describe('a budget', () => {
  it.each<[string, Record<string, string | string[]>, ReturnType<typeof read>]>([
    [
      'of Docker Hub, whose window slides',
      {
        'ratelimit-limit': '100;w=21600',
        'ratelimit-remaining': '76;w=21600',
        'docker-ratelimit-source': '192.0.2.1',
      },
      { limit: 100, remaining: 76 },
    ],
    [
      'of GitHub, whose reset is a time',
      {
        'x-ratelimit-limit': '5000',
        'x-ratelimit-remaining': '0',
        'x-ratelimit-reset': String(seconds + 90),
        'x-ratelimit-used': '5000',
      },
      { limit: 5000, remaining: 0, reset: 90 },
    ],
    [
      'of GitLab, whose reset is a time too',
      {
        'ratelimit-limit': '2000',
        'ratelimit-observed': '1',
        'ratelimit-remaining': '1999',
        'ratelimit-reset': String(seconds + 60),
        'ratelimit-resettime': 'Fri, 02 Jan 2026 03:05:05 GMT',
      },
      { limit: 2000, remaining: 1999, reset: 60 },
    ],
    [
      'of the three headers of the older IETF drafts',
      {
        'ratelimit-limit': '10, 10;w=1, 50;w=60',
        'ratelimit-remaining': '9',
        'ratelimit-reset': '50',
      },
      { limit: 10, remaining: 9, reset: 50 },
    ],
    [
      'of the one header of IETF draft 7',
      { ratelimit: 'limit=100, remaining=50, reset=5', 'ratelimit-policy': '100;w=10' },
      { limit: 100, remaining: 50, reset: 5 },
    ],
    [
      'of the newest IETF draft',
      { ratelimit: '"default";r=50;t=30', 'ratelimit-policy': '"default";q=100;w=60' },
      { limit: 100, remaining: 50, reset: 30 },
    ],
    [
      'of it with its parts the other way round',
      { ratelimit: '"a"; t=30; r=0' },
      { remaining: 0, reset: 30 },
    ],
    [
      'of several policies, of which one is used up',
      { ratelimit: '"daily";r=900;t=80000, "burst";r=0;t=2', 'ratelimit-policy': '"burst";q=10;w=2' },
      { limit: 10, remaining: 0, reset: 2 },
    ],
    [
      'of several policies in several headers, with a name that holds what parts them',
      { ratelimit: ['"a,b;r=7";r=0;t=3', '"c";r=5;t=80000'] },
      { remaining: 0, reset: 3 },
    ],
    [
      'that is over already',
      { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': String(seconds - 9) },
      { remaining: 0, reset: 0 },
    ],
    [
      'by the clock of the registry, where it tells it',
      {
        date: 'Fri, 02 Jan 2026 04:04:05 GMT',
        'x-ratelimit-remaining': '0',
        'x-ratelimit-reset': String(seconds + 3660),
      },
      { remaining: 0, reset: 60 },
    ],
  ])('%s', (_, headers, budget) => {
    expect(read(headers)).toEqual(budget);
  });

  it.each([
    {},
    { 'ratelimit-limit': '100' },
    { 'ratelimit-remaining': '' },
    { 'ratelimit-remaining': '-1' },
    { 'ratelimit-remaining': '166.65' },
    { 'ratelimit-remaining': 'unlimited' },
    { 'ratelimit-remaining': '9'.repeat(40) },
    { ratelimit: '"default";t=30' },
    { ratelimit: ','.repeat(5000) },
    { ratelimit: '"'.repeat(5000) },
    { ratelimit: ';'.repeat(5000) },
  ])('is not made up from %o', (headers) => {
    const started = performance.now();
    expect(readBudget(headers, now)).toBeUndefined();
    expect(performance.now() - started).toBeLessThan(200);
  });
});
