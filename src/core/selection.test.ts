import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  everything,
  formatSelection,
  isPlatform,
  parsePlatform,
  readSelection,
  select,
} from './selection.ts';

describe('a platform', () => {
  it.each([
    ['linux/amd64', 'linux/amd64'],
    ['linux/x86_64', 'linux/amd64'],
    ['Linux/ARM64/v8', 'linux/arm64'],
    ['linux/aarch64', 'linux/arm64'],
    ['linux/arm/v7', 'linux/arm/v7'],
  ])('%s is %s', (text, canonical) => {
    expect(parsePlatform(text)).toBe(canonical);
  });

  it.each(['', 'linux', 'linux/', '/amd64', 'linux/arm/v7/x', 'linux/amd 64', 'linux/../x'])(
    '%j is refused, and quoted',
    (text) => {
      expect(() => parsePlatform(text)).toThrow(JSON.stringify(text));
    },
  );

  it('that is wanted without a variant is any of them, and one with a variant only that', () => {
    const arm = (variant?: string) => ({ os: 'linux', architecture: 'arm', variant });
    expect([arm('v6'), arm('v7'), arm()].map((each) => isPlatform('linux/arm', each))).toEqual([
      true,
      true,
      true,
    ]);
    expect([arm('v6'), arm('v7'), arm()].map((each) => isPlatform('linux/arm/v7', each))).toEqual([
      false,
      true,
      false,
    ]);
    expect(isPlatform('linux/arm', { os: 'linux', architecture: 'arm64' })).toBe(false);
    expect(isPlatform('linux/arm64', { os: 'linux', architecture: 'arm64', variant: 'v8' })).toBe(true);
  });
});

describe('a selection', () => {
  it('is what a choice says, and for the rest what the installation has', () => {
    const fallback = { platforms: ['linux/amd64'], referrers: 'none' as const };
    expect(select({}, fallback)).toEqual(fallback);
    expect(select({ referrers: 'all' }, fallback)).toEqual({ ...fallback, referrers: 'all' });
    expect(select({ platforms: ['linux/arm64'] }, fallback).platforms).toEqual(['linux/arm64']);
    expect(select({ platforms: [] }, everything)).toEqual(everything);
    expect(select({ referrers: [] }, everything)).toEqual({ referrers: 'none' });
  });

  it('of everything is the empty text', () => {
    expect(formatSelection(select({}, everything))).toBe('');
    expect(readSelection('')).toEqual(everything);
  });

  it('is the same text in whatever order and form its parts are named, and comes back from it', () => {
    const platforms = fc.shuffledSubarray(['linux/amd64', 'linux/arm64/v8', 'linux/arm/v7', 'linux/x86_64']);
    const types = fc.oneof(
      fc.constantFrom('all' as const, 'none' as const),
      fc.shuffledSubarray(['a', 'b', 'c']),
    );
    fc.assert(
      fc.property(platforms, types, (named, referrers) => {
        const selection = select({ platforms: named, referrers }, everything);
        const turned = select(
          {
            platforms: [...named].reverse(),
            referrers: typeof referrers === 'string' ? referrers : [...referrers].reverse(),
          },
          everything,
        );
        expect(formatSelection(turned)).toBe(formatSelection(selection));
        expect(readSelection(formatSelection(selection))).toEqual(selection);
      }),
    );
  });
});
