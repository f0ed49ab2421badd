import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { judge } from './judge.ts';

let evidence: string;
beforeEach(async () => {
  evidence = mkdtempSync(join(tmpdir(), 'dray-judge-'));
  await put('kept/canary.txt', 'pw-canary-0d7ce1');
});
afterEach(() => rmSync(evidence, { recursive: true }));

// None of these is registered: this test writes them down.
const canary = { value: 'pw-canary-0d7ce1', label: 'canary' };
const secrets = [{ value: 'pw-6b1f90aa27c4', label: 'password of the robot' }];
async function put(name: string, text: string): Promise<void> {
  await mkdir(dirname(join(evidence, name)), { recursive: true });
  await writeFile(join(evidence, name), text);
}
const part = () => judge(evidence, secrets, { canary, isWhole: false });
const whole = () => judge(evidence, secrets, { canary, isWhole: true });

describe('the evidence of a run', () => {
  it('without a secret in it is fine', async () => {
    await put('kept/logs/service-1.txt', 'Dray serves at http://127.0.0.1:1\n');
    expect(await part()).toEqual([]);
  });

  it('with one is told by its label and the file, never by its value', async () => {
    await put('kept/logs/service-1.txt', `{"url":"https://robot:${secrets[0]?.value}@quay.io"}\n`);
    await put('complaints.txt', 'password of the robot: in the database’s file base/5/1\n');
    expect(await part()).toEqual([
      'password of the robot: in logs/service-1.txt',
      'password of the robot: in the database’s file base/5/1',
    ]);
  });

  it('in which the search does not even find what was put there is no proof', async () => {
    await put('kept/canary.txt', '');
    expect(await part()).toEqual(['The search does not find what is there.']);
  });

  it('of a whole run must be there, of every kind', async () => {
    const all = {
      'logs/service-1.txt': 'Dray serves at',
      'logs/registry-1.txt': 'GET /v2/',
      'logs/postgres-1.txt': 'ready to accept connections',
      'outputs/command-1.txt': 'dray mirror',
      'errors/answer-1.txt': '{"remedy":"…"}',
      'processes/seen-1.txt': 'skopeo copy --preserve-digests\nskopeo environment: HOME=/',
      'dumps/pglite-1.txt': 'pgboss.job\n',
      'dumps/postgres-1.txt': 'CREATE TABLE pgboss.job',
    };
    for (const [name, text] of Object.entries(all)) await put(`kept/${name}`, text);
    expect(await whole()).toEqual([]);
    for (const [name, text] of Object.entries(all)) {
      await put(`kept/${name}`, '');
      const [kind = ''] = name.split('-1.txt');
      expect(await whole()).toContainEqual(expect.stringContaining(kind));
      await put(`kept/${name}`, text);
    }
    expect(await judge(evidence, [], { canary, isWhole: true })).toEqual(['No secret was registered.']);
  });
});
