import { describe, expect, it } from 'vitest';
import { MirrorError } from '../core/errors.ts';
import { askEach, pairsOf, parallel } from './batch.ts';

const never = new AbortController().signal;
const images = (count: number) => Array.from({ length: count }, (_, n) => `src.io/a${n}:1`);

describe('a batch', () => {
  it('answers image by image, target by target, and asks once for what comes twice', async () => {
    const asked: string[] = [];
    const pairs = pairsOf(['b', 'a', 'b'], ['one.io', 'two.io']);
    const outcomes = await askEach(
      pairs,
      async ({ image, to }) => {
        asked.push(`${image} ${to}`);
        return asked.length;
      },
      never,
    );
    expect(asked).toEqual(['b one.io', 'b two.io', 'a one.io', 'a two.io']);
    expect(outcomes).toEqual([
      { image: 'b', to: 'one.io', answer: 1 },
      { image: 'b', to: 'two.io', answer: 2 },
      { image: 'a', to: 'one.io', answer: 3 },
      { image: 'a', to: 'two.io', answer: 4 },
      { image: 'b', to: 'one.io', answer: 1 },
      { image: 'b', to: 'two.io', answer: 2 },
    ]);
  });

  it('has a bound on how much it asks at once, and no failure stops the others', async () => {
    let [running, most] = [0, 0];
    const outcomes = await askEach(
      pairsOf(images(50), ['dst.io']),
      async ({ image }) => {
        most = Math.max(most, ++running);
        await new Promise(setImmediate);
        running--;
        if (image.endsWith('7:1')) throw new MirrorError('manifest_unknown', 'x', { side: 'source' });
        return image;
      },
      never,
    );
    expect(most).toBe(parallel);
    expect(outcomes.filter(({ error }) => error).map(({ image }) => image)).toEqual(
      [7, 17, 27, 37, 47].map((n) => `src.io/a${n}:1`),
    );
    expect(outcomes.filter(({ answer, image }) => answer === image)).toHaveLength(45);
  });

  it('does not wait again for a registry that was away as long as a submit may wait', async () => {
    const asked: string[] = [];
    const mixed = [...images(40), 'other.io/b:1'];
    const outcomes = await askEach(
      pairsOf(mixed, ['dst.io']),
      async ({ image }) => {
        asked.push(image);
        await new Promise(setImmediate);
        if (image.startsWith('src.io')) throw new MirrorError('timeout', 'It is slow.', { side: 'source' });
        return 'there';
      },
      never,
    );
    expect(asked).toEqual([...images(parallel), 'other.io/b:1']);
    expect(outcomes.map(({ error }) => error?.code)).toEqual([
      ...Array<string>(40).fill('timeout'),
      undefined,
    ]);
    expect([parallel - 1, parallel].map((n) => outcomes[n]?.error?.message)).toEqual([
      'It is slow.',
      'It was not asked for, since its registry had just failed: It is slow.',
    ]);
  });

  it('leaves what was not begun when its caller goes', async () => {
    const gone = new AbortController();
    let asked = 0;
    const outcomes = await askEach(
      pairsOf(images(40), ['dst.io']),
      async () => {
        asked++;
        gone.abort();
      },
      gone.signal,
    );
    expect(asked).toBe(1);
    expect(outcomes.map(({ error }) => error?.code)).toEqual([
      undefined,
      ...Array<string>(39).fill('cancelled'),
    ]);
  });
});
