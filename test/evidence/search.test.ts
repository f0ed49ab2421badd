import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { searchFolder } from './search.ts';

const folder = mkdtempSync(join(tmpdir(), 'dray-search-'));
const evidence = join(folder, 'evidence');
beforeAll(() => mkdir(join(evidence, 'logs'), { recursive: true }));
afterAll(() => rmSync(folder, { recursive: true }));

// None of these is registered: this test writes them down.
const plain = 'pw-2f81c6d09ab4e357';
const odd = 'pw-ä"\\ +/?&=%€-Zz9';
const secrets = [
  { value: plain, label: 'the plain one' },
  { value: odd, label: 'the odd one' },
];

async function found(content: string | Uint8Array): Promise<string[]> {
  await writeFile(join(evidence, 'logs', 'x.txt'), content);
  const findings = await searchFolder(evidence, secrets, folder);
  for (const { file } of findings) expect(file).toBe(join('logs', 'x.txt'));
  return findings.map(({ label }) => label);
}
const base64 = (text: string) => Buffer.from(text).toString('base64');

describe.each([
  { value: plain, label: 'the plain one' },
  { value: odd, label: 'the odd one' },
])('the search finds $label', ({ value, label }) => {
  it.each<[string, (secret: string) => string]>([
    ['as it is', (secret) => `{"a":"x${secret}y"}`],
    ['in JSON', (secret) => JSON.stringify({ a: secret })],
    ['in a URL', (secret) => `https://x.example/?token=${encodeURIComponent(secret)}&b`],
    ['in a form', (secret) => new URLSearchParams({ a: '1', token: secret }).toString()],
    ['in hexadecimal', (secret) => `\\x00${Buffer.from(secret).toString('hex')}ff`],
    ['in base64', base64],
    ['in base64 without padding', (secret) => base64(secret).replace(/=+$/, '')],
    ['in base64 for URLs', (secret) => Buffer.from(secret).toString('base64url')],
  ])('%s', async (_, write) => {
    expect(await found(`before ${write(value)} after\n`)).toEqual([label]);
  });

  it.each(['admin', 'robot', 'a', 'ab', 'abc', '<token>', '_json_key', 'jürgen'])(
    'as the login of %s, and with anything after it',
    async (user) => {
      for (const more of ['', '\n', ' more', ':x'])
        expect(await found(`"auth": "${base64(`${user}:${value}${more}`)}"`)).toEqual([label]);
    },
  );

  it('among bytes that are no text', async () => {
    expect(await found(Buffer.concat([randomBytes(5000), Buffer.from(value), Buffer.of(0, 255)]))).toEqual([
      label,
    ]);
  });
});

it('the search finds nothing where there is nothing', async () => {
  expect(await found(randomBytes(1_000_000))).toEqual([]);
  expect(await found(`${plain.slice(0, -1)} ${base64(`admin:${plain.slice(1)}`)}`)).toEqual([]);
});

it('the search names each secret once for each file', async () => {
  expect((await found(`${plain}\n${odd}\n${plain} ${base64(plain)}\n`)).sort()).toEqual([
    'the odd one',
    'the plain one',
  ]);
});
