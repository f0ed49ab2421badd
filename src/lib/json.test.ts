import { describe, expect, it } from 'vitest';
import { member, parseJson } from './json.ts';

const parse = (text: string) => parseJson(Buffer.from(text));

describe('JSON of anybody', () => {
  it('is undefined where it is none', () => {
    for (const text of ['', '<html>', '{"a":', 'undefined']) expect(parse(text)).toBeUndefined();
    expect(parse('{"a":[1,{"b":"c"}]}')).toEqual({ a: [1, { b: 'c' }] });
  });

  it('is not read where it has more values than anything real', () => {
    expect(parse(`[${'{},'.repeat(40_000)}{}]`)).toHaveLength(40_001);
    expect(parse(`[${'{},'.repeat(60_000)}{}]`)).toBeUndefined();
    expect(parse(`${'['.repeat(100_001)}${']'.repeat(100_001)}`)).toBeUndefined();
    expect(parse(`{${'"a":0,'.repeat(100_000)}"a":0}`)).toBeUndefined();
    expect(parse(JSON.stringify('x'.repeat(4e6)))).toHaveLength(4e6);
  });

  it('has no members but its own', () => {
    expect(member(parse('{"a":{"b":1}}'), 'a', 'b')).toBe(1);
    for (const name of ['constructor', '__proto__', 'toString'])
      expect(member(parse('{"a":{}}'), 'a', name)).toBeUndefined();
  });
});
