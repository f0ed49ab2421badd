import type { Kysely } from 'kysely';
import type { Schema } from './schema.ts';

/** Milliseconds for which an answer is good, and that one may take. */
const goodFor = 1000;
const patience = 1000;

/**
 * Tells whether the database answers a question about mirrors. However many ask, one question is under way at a time: a
 * database that is stuck must not be given more of them.
 */
export function createPulse(kysely: Kysely<Schema>): () => Promise<boolean> {
  let last: { at: number; answer: Promise<boolean>; answered: boolean } | undefined;

  function look(): Promise<boolean> {
    const now = performance.now();
    if (last && (!last.answered || now - last.at < goodFor)) return last.answer;
    const question = kysely.selectFrom('mirrors').select('id').limit(1).execute();
    const asked = { at: now, answered: false, answer: Promise.resolve(false) };
    asked.answer = question
      .then(
        () => true,
        () => false,
      )
      .finally(() => (asked.answered = true));
    last = asked;
    return asked.answer;
  }

  return () =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, patience, false);
      void look().then((answers) => {
        clearTimeout(timer);
        resolve(answers);
      });
    });
}
