import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MirrorError } from '../core/errors.ts';
import { answers, readAnswer } from './answers.ts';

const grant = { endpoint: 'https://seqera.example/api', accessToken: 'x' };
const read = (name: keyof typeof answers, body: string) =>
  readAnswer<unknown>(answers[name], { status: 200, headers: new Map(), body }, grant);

describe("an answer of Platform's", () => {
  // Shapes that come near the real ones, with anything in their places.
  const near = fc.object({
    key: fc.constantFrom(
      ...['user', 'id', 'credentials', 'provider', 'keys', 'registry'],
      ...['launch', 'computeEnv', 'platform', 'credentialsId', '__proto__'],
    ),
    values: [
      ...[
        fc.string(),
        fc.constant('container-reg'),
        fc.constant('aws-batch'),
        fc.integer(),
        fc.constant(null),
      ],
      fc.constant('..'),
    ],
    maxDepth: 5,
  });
  const body = fc.oneof(
    fc.string(),
    fc.json(),
    near.map((value) => JSON.stringify(value)),
  );

  it.each(Object.keys(answers) as (keyof typeof answers)[])(
    'to %s is read, or refused as nonsense without a word of it',
    (name) => {
      fc.assert(
        fc.property(body, (text) => {
          try {
            read(name, text);
          } catch (error) {
            expect(error).toBeInstanceOf(MirrorError);
            expect((error as Error).message).toBe(
              'https://seqera.example/api gave an answer that makes no sense.',
            );
          }
        }),
      );
    },
  );

  it('lists the credentials that can be read, and leaves out the others', () => {
    const credentials = [
      { id: 'a', provider: 'container-reg', keys: { registry: ' quay.io ' } },
      { id: 'b', provider: 'container-reg', keys: null },
      { id: 'c', provider: 'aws', keys: { accessKey: 'x' } },
      { id: '..', provider: 'container-reg' },
      ...[7, null, 'x', { id: {}, provider: 'container-reg' }],
    ];
    expect(read('credentialList', JSON.stringify({ credentials }))).toEqual([
      { id: 'a', registry: 'quay.io' },
      { id: 'b', registry: 'docker.io' },
    ]);
  });
});
