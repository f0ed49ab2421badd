import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readFrame } from './frames.ts';

describe('a frame', () => {
  it('never throws, whatever it is', () => {
    const type = fc.constantFrom('pairing-heartbeat', 'proxy-http-response', 'x', '__proto__', '');
    const value = fc.record(
      {
        '@type': fc.oneof(type, fc.anything()),
        msgId: fc.oneof(fc.string(), fc.anything()),
        status: fc.oneof(fc.integer(), fc.anything()),
        body: fc.oneof(fc.string(), fc.anything()),
        headers: fc.oneof(fc.dictionary(fc.string(), fc.anything()), fc.anything()),
      },
      { requiredKeys: [] },
    );
    const text = fc.oneof(
      fc.string(),
      fc.json(),
      value.map((each) => {
        try {
          return JSON.stringify(each);
        } catch {
          return '';
        }
      }),
    );
    fc.assert(
      fc.property(text, (frame) => {
        const read = readFrame(frame);
        if (read?.type !== 'answer' || !read.answer) return;
        expect(read.answer.status).toBeGreaterThanOrEqual(100);
        expect([...read.answer.headers.values()].flat().every((each) => typeof each === 'string')).toBe(true);
      }),
    );
  });
});
