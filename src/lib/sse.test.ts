import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type Block, formatBlock, readBlocks } from './sse.ts';

async function read(...chunks: (string | Uint8Array)[]): Promise<Block[]> {
  const blocks: Block[] = [];
  const bytes = chunks.map((chunk) => (typeof chunk === 'string' ? Buffer.from(chunk) : chunk));
  for await (const block of readBlocks(
    (async function* () {
      yield* bytes;
    })(),
  ))
    blocks.push(block);
  return blocks;
}

it('reads what it writes, however it is cut', async () => {
  const line = fc.stringMatching(/^[^\r\n]{0,20}$/);
  const block = fc.record(
    { id: line, event: line, data: fc.array(line, { minLength: 1 }).map((lines) => lines.join('\n')) },
    { requiredKeys: ['data'] },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(block), fc.array(fc.nat(200)), async (blocks, cuts) => {
      const bytes = Buffer.from(blocks.map((each) => formatBlock(each)).join(''));
      const at = [0, ...cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b), bytes.length];
      const chunks = at.slice(1).map((end, n) => bytes.subarray(at[n], end));
      expect(await read(...chunks)).toEqual(blocks);
    }),
  );
});

it('reads every line end of the specification, comments, and no block that is cut off', async () => {
  expect(
    await read('id: 1\r\ndata: a\r', '\n\r\ndata:b\rdata:  c\r\r', ': hello\n\nid: 2\n\ndata: cut'),
  ).toEqual([{ id: '1', data: 'a' }, { data: 'b\n c' }, {}, { id: '2' }]);
});

it('gives up on what is no event stream', async () => {
  await expect(read(Buffer.alloc(2_000_000, 'a'))).rejects.toThrow('no event stream');
});
