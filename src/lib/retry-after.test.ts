import { describe, expect, it } from 'vitest';
import { parseRetryAfter } from './retry-after.ts';

describe('parseRetryAfter', () => {
  it('reads seconds and dates', () => {
    expect(parseRetryAfter('30')).toBe(30);
    expect(parseRetryAfter(' 0 ')).toBe(0);
    const soon = parseRetryAfter(new Date(Date.now() + 90_500).toUTCString());
    expect(soon).toBeGreaterThanOrEqual(89);
    expect(soon).toBeLessThanOrEqual(91);
    expect(parseRetryAfter('Sun, 06 Nov 1994 08:49:37 GMT')).toBe(0);
  });

  it.each(['', '-5', 'soon', '1e9', '12345678901', '1.5'])('takes %j for nothing', (value) => {
    expect(parseRetryAfter(value)).toBeUndefined();
  });
});
