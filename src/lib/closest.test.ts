import { expect, it } from 'vitest';
import { closest } from './closest.ts';

const names = ['host', 'port', 'url', 'dataDir', 'databaseUrl', 'registries', 'trustedProxies', 'limits'];

it.each([
  ['hots', 'host'],
  ['prot', 'port'],
  ['dataDirectory', undefined],
  ['datadir', 'dataDir'],
  ['DataBaseURL', 'databaseUrl'],
  ['registry', 'registries'],
  ['trustedProxy', 'trustedProxies'],
  ['limit', 'limits'],
  ['uri', 'url'],
  ['nonsense', undefined],
  ['x', undefined],
  ['', undefined],
])('takes "%s" for %s', (word, name) => {
  expect(closest(word, names)).toBe(name);
});
