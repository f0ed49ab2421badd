import { describe, expect, it } from 'vitest';
import { nextPage, readDescriptors } from './listing.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const doing = { host: 'registry.example', what: 'reading' };
const read = (value: unknown) => readDescriptors(Buffer.from(JSON.stringify(value)), doing);

describe('a list of referrers', () => {
  it('keeps what an entry says of its kind', () => {
    const entry = { mediaType: 'm', digest, size: 3, artifactType: 't', annotations: { a: 'b' } };
    expect(read({ manifests: [entry] })).toEqual([entry]);
  });

  it('leaves out what is no entry', () => {
    const none = [null, 1, {}, { digest: 'sha256:short', size: 1 }, { digest, size: '1' }];
    const entries = [...none, { digest, size: 1.5 }, { digest, size: 1e300 }];
    expect(read({ manifests: [...entries, { digest, size: 1, artifactType: '' }] })).toEqual([
      { mediaType: '', digest, size: 1 },
    ]);
  });

  it('keeps annotations that are texts, and no others', () => {
    const annotations = JSON.parse('{"a":"b","n":1,"o":{"p":[]},"__proto__":"c"}') as object;
    const [entry] = read({ manifests: [{ mediaType: 'm', digest, size: 3, annotations }] });
    expect(Object.entries(entry?.annotations ?? {})).toEqual([
      ['a', 'b'],
      ['__proto__', 'c'],
    ]);
  });

  it.each([[{}], [null], [[]], [{ manifests: 'x' }]])('%j is none', (value) => {
    expect(() => read(value)).toThrow(/sent something else/);
  });

  it('that is no JSON is none', () => {
    expect(() => readDescriptors(Buffer.from('<html>'), doing)).toThrow(/sent something else/);
  });
});

describe('the next page', () => {
  const list = `a/b/referrers/${digest}`;

  it.each([
    [`</v2/${list}?n=2&last=x>; rel="next"`, `${list}?n=2&last=x`],
    [`<https://other.example/v2/${list}?p=2>; rel=next`, `${list}?p=2`],
    [`</v2/${list.replace('sha256:', 'sha256%3A')}?p=2>; rel="next"`, `${list}?p=2`],
    [`</first>; rel="first", </v2/${list}?p=3>; rel="next"`, `${list}?p=3`],
    [`<?p=2>; rel="next"`, `${list}?p=2`],
  ])('of %s is %s', (link, path) => {
    expect(nextPage(link, list)).toBe(path);
  });

  it.each([
    undefined,
    '',
    `</v2/${list}?p=2>; rel="prev"`,
    '</v2/a/c/referrers/x>; rel="next"',
    '<http://[>; rel="next"',
  ])('there is none by %s', (link) => {
    expect(nextPage(link, list)).toBeUndefined();
  });
});
