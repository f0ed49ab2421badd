import { expect, it } from 'vitest';
import type { Grant } from '../core/grant.ts';
import { tenantOf } from './open.ts';

const endpoint = 'https://seqera.example.com/api';
const signal = new AbortController().signal;

it('asks for a membership that is a minute old at most, however long the run lasts', async () => {
  const asked: Grant[] = [];
  const platform = {
    userId: async () => 7,
    credentials: async (grant: Grant) => {
      asked.push(grant);
      return [];
    },
  };
  const grant = { endpoint, accessToken: 'a', refreshToken: 'r', workspaceId: 10, workflowId: 'run' };
  expect(await tenantOf(platform, grant, signal)).toBe(`${endpoint}#workspace:10`);
  // What is told for a run is kept for hours, and anybody may say to be one.
  expect(asked).toEqual([{ endpoint, accessToken: 'a', refreshToken: 'r', workspaceId: 10 }]);
  expect(await tenantOf(platform, { endpoint, accessToken: 'a' }, signal)).toBe(`${endpoint}#user:7`);
});
