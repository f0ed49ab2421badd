import { basename } from 'node:path';
import { expect } from 'vitest';
import { keepEvidence } from '../fixtures/evidence.ts';

// Vitest loads this before each test file: every answer with an error that a test gets becomes evidence.

process.env['TEST_FILE'] = basename(expect.getState().testPath ?? '');

const { fetch } = globalThis;
globalThis.fetch = async (...args) => {
  const answer = await fetch(...args);
  if (answer.status >= 400) {
    const headers = [...answer.headers].map(([name, value]) => `${name}: ${value}\n`).join('');
    const body = await answer.clone().text();
    keepEvidence('errors', 'answer', `${answer.status} ${answer.url}\n${headers}\n${body}\n`);
  }
  return answer;
};
