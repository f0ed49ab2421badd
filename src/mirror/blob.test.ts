import { expect, it } from 'vitest';
import { type Digest, digestOf } from '../core/digest.ts';
import type { Registry } from '../registry/registry.ts';
import { readBlob } from './blob.ts';

const bytes = Buffer.from('{"created": "2024-01-01T00:00:00Z"}');
const digest = digestOf(bytes);
const access = { signal: new AbortController().signal };

/** A registry that sends these chunks as whatever blob it is asked for. */
function sends(...chunks: (Buffer | Error)[]): Registry {
  return {
    async *stream() {
      for (const chunk of chunks)
        if (chunk instanceof Error) throw chunk;
        else yield chunk;
    },
    blob() {
      return Promise.resolve((this as unknown as { stream(): AsyncIterable<Uint8Array> }).stream());
    },
  } as unknown as Registry;
}

const read = (registry: Registry, size = bytes.length, limit = 1000, name: Digest = digest) =>
  readBlob(registry, { registry: 'quay.io', path: 'a/b' }, { digest: name, size }, limit, access);

it('reads a blob that is what it is said to be', async () => {
  expect(await read(sends(bytes.subarray(0, 5), bytes.subarray(5)))).toEqual(bytes);
});

it('does not ask for one that is too large', async () => {
  expect(await read(sends(new Error('it was asked')), 1001)).toBeUndefined();
  expect(await read(sends(new Error('it was asked')), NaN)).toBeUndefined();
});

it('refuses other bytes, fewer and more', async () => {
  const other = Buffer.from(bytes.toString().replace('2024', '1970'));
  for (const registry of [sends(other), sends(bytes.subarray(1)), sends(bytes, bytes)])
    await expect(read(registry)).rejects.toMatchObject({ code: 'digest_mismatch' });
});
