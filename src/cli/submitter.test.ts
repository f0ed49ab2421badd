import { describe, expect, it } from 'vitest';
import type { Pair } from '../mirror/batch.ts';
import type { NewMirrors, Outcome } from './client.ts';
import { createSubmitter } from './submitter.ts';

/** A service that has every image, but answers of some what `answer` says. */
function stub(answer: (pair: Pair) => Partial<Outcome> = () => ({ cached: true })) {
  const requests: { images: number; to: unknown }[] = [];
  return {
    requests,
    submit: async ({ images, to }: NewMirrors): Promise<Outcome[]> => {
      requests.push({ images: images.length, to });
      return images.flatMap((image) =>
        (to as string[]).map((target) => ({ image, to: target, ...answer({ image, to: target }) })),
      );
    },
  };
}
const pairs = (images: number, targets: string[]): Pair[] =>
  Array.from({ length: images }, (_, n) => targets.map((to) => ({ image: `i${n}`, to }))).flat();

describe('what the command line asks for', () => {
  it('goes in requests of a hundred images, for all targets at once', async () => {
    const service = stub(({ image, to }) => ({ target: `${to}/${image}` }));
    const submitter = createSubmitter(service.submit, 2, {});
    const answers = await Promise.all(pairs(250, ['a', 'b']).map((pair) => submitter.submit(pair)));
    expect(service.requests).toEqual([100, 100, 50].map((images) => ({ images, to: ['a', 'b'] })));
    expect(answers.map(({ target }) => target)).toEqual(
      pairs(250, ['a', 'b']).map(({ image, to }) => `${to}/${image}`),
    );
  });

  it('goes in no request that is too large for the service', async () => {
    const targets = Array.from({ length: 20 }, (_, n) => `t${n}`);
    const service = stub();
    const submitter = createSubmitter(service.submit, 20, {});
    await Promise.all(pairs(60, targets).map((pair) => submitter.submit(pair)));
    expect(service.requests.map(({ images }) => images)).toEqual([50, 10]);
  });

  it('is asked for again alone, and fails alone', async () => {
    const error = {
      code: 'rate_limited',
      side: 'target',
      message: 'm',
      remedy: 'r',
      retryable: true,
    } as const;
    const service = stub(({ image, to }) =>
      image === 'i1' && to === 'b' ? { error: { ...error, retryAfter: 7 } } : { cached: true },
    );
    const submitter = createSubmitter(service.submit, 2, {});
    const ask = () => Promise.allSettled(pairs(3, ['a', 'b']).map((pair) => submitter.submit(pair)));
    const settled = await ask();
    expect(settled.map(({ status }) => status)).toEqual([
      ...['fulfilled', 'fulfilled', 'fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
    ]);
    await expect(submitter.submit({ image: 'i1', to: 'b' })).rejects.toMatchObject({
      ...{ code: 'rate_limited', side: 'target', message: 'm', remedy: 'r', retryAfter: 7 },
    });
    const some = [
      { image: 'i0', to: 'a' },
      { image: 'i1', to: 'b' },
      { image: 'i2', to: 'a' },
    ];
    await Promise.allSettled(some.map((pair) => submitter.submit(pair)));
    expect(service.requests.slice(1)).toEqual([
      { images: 1, to: ['b'] },
      { images: 2, to: ['a'] },
      { images: 1, to: ['b'] },
    ]);
  });

  it('keeps an error that this command does not know', async () => {
    const error = { code: 'of_next_year', message: 'm', remedy: 'r', retryable: false };
    const submitter = createSubmitter(stub(() => ({ error })).submit, 1, {});
    await expect(submitter.submit({ image: 'a', to: 'b' })).rejects.toMatchObject({
      message: 'm',
      remedy: 'r',
    });
  });
});
