import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseChallenges } from './challenge.ts';

const read = (header: string) =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

describe('parseChallenges', () => {
  it.each([
    [
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
      [
        [
          'bearer',
          {
            realm: 'https://auth.docker.io/token',
            service: 'registry.docker.io',
            scope: 'repository:a/b:pull,push',
          },
        ],
      ],
    ],
    ['Basic realm="Registry Realm"', [['basic', { realm: 'Registry Realm' }]]],
    ['Basic', [['basic', {}]]],
    ['BEARER Realm=abc , service = "x"', [['bearer', { realm: 'abc', service: 'x' }]]],
    [
      'Negotiate, Bearer realm="r", error="a \\"b\\"", Basic realm="c"',
      [
        ['negotiate', {}],
        ['bearer', { realm: 'r', error: 'a "b"' }],
        ['basic', { realm: 'c' }],
      ],
    ],
    ['', []],
    ['realm="x"', []],
    [
      'Bearer realm="open',
      [
        ['bearer', {}],
        ['realm', {}],
      ],
    ],
  ])('reads %s', (header, expected) => {
    expect(read(header)).toEqual(expected);
  });

  it('comes to an end whatever it is given', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...Array.from('aB=", \\\t\u00e9')), maxLength: 200 }),
        (header) => {
          expect(Array.isArray(parseChallenges(header))).toBe(true);
        },
      ),
    );
  });
});
