import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSealer } from './seal.ts';

describe('a sealer', () => {
  const [first, second] = [randomBytes(32), randomBytes(32)];
  const sealer = createSealer([first]);

  it('opens what it has sealed, and only for the same purpose', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string(), fc.string(), (secret, purpose, other) => {
        const sealed = sealer.seal(secret, purpose);
        expect(sealer.open(sealed, purpose)).toBe(secret);
        if (other !== purpose) expect(sealer.open(sealed, other)).toBeUndefined();
      }),
    );
  });

  it('seals the same secret differently each time, and shows nothing of it', () => {
    const [one, two] = [sealer.seal('s3cr3t', 'x'), sealer.seal('s3cr3t', 'x')];
    expect(one).not.toBe(two);
    const data = Buffer.from(one.split('.')[2] ?? '', 'base64url').toString('latin1');
    expect(data).not.toContain('s3cr3t');
  });

  it('opens nothing that was altered in any place', () => {
    const sealed = sealer.seal('s3cr3t', 'x');
    for (let at = 0; at < sealed.length; at++) {
      const altered = sealed.slice(0, at) + (sealed[at] === 'A' ? 'B' : 'A') + sealed.slice(at + 1);
      // The last digit of base64 may hold bits that stand for nothing.
      if (at < sealed.length - 1) expect(sealer.open(altered, 'x')).toBeUndefined();
    }
  });

  it('opens no nonsense', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(sealer.open(text, 'x')).toBeUndefined();
      }),
    );
    expect(sealer.open(`v1.${sealer.seal('', 'x').split('.')[1]}.`, 'x')).toBeUndefined();
  });

  it('goes on opening with an old key, and seals anew what is sealed with it', () => {
    const old = sealer.seal('s3cr3t', 'x');
    const rotated = createSealer([second, first]);
    expect(rotated.open(old, 'x')).toBe('s3cr3t');
    const anew = rotated.reseal(old, 'x') ?? '';
    expect(createSealer([second]).open(anew, 'x')).toBe('s3cr3t');
    expect(rotated.reseal(anew, 'x')).toBeUndefined();
    expect(rotated.reseal(old, 'y')).toBeUndefined();
    expect(createSealer([second]).reseal(old, 'x')).toBeUndefined();
    expect(sealer.open(anew, 'x')).toBeUndefined();
  });
});
