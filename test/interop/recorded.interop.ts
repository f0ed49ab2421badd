import { readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { platformsIndex, push } from '../fixtures/image.ts';
import { startRegistry, type TestRegistry } from '../fixtures/registry.ts';
import { fetchTree } from '../fixtures/tree.ts';
import { key, startDray } from './service.ts';

interface Recording {
  client: string;
  submit: { headers: Record<string, string>; body: string };
  status: { headers: Record<string, string> };
}

const folder = new URL('recorded/', import.meta.url);
const recordings = readdirSync(folder)
  .filter((name) => name.endsWith('.json'))
  .map((name) => JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Recording);

describe('requests that were recorded from real clients', () => {
  let source: TestRegistry;
  let target: TestRegistry;
  let service: Awaited<ReturnType<typeof startDray>>;
  beforeAll(async () => {
    [source, target, service] = await Promise.all([startRegistry(), startRegistry(), startDray()]);
    await push(source.url, 'lib/a', 'v1', platformsIndex(1));
  });
  afterAll(() => Promise.all([service.end(), source.stop(), target.stop()]));

  it.each(recordings)('of $client are served', async ({ client, submit, status }) => {
    const values: Record<string, string> = {
      image: `${source.host}/lib/a:v1`,
      repository: `${target.host}/${client}`,
      key,
    };
    const fill = (text: string) => text.replace(/\{\{(\w+)\}\}/g, (_, name: string) => values[name] ?? '');
    const filled = (headers: Record<string, string>) =>
      Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, fill(value)]));
    const send = async (method: string, path: string, headers: Record<string, string>, body = '') => {
      const { code, text } = await exchange(method, `${service.url}${path}`, filled(headers), fill(body));
      expect(code, text).toBe(200);
      return JSON.parse(text) as Record<string, unknown>;
    };

    const answer = await send('POST', '/v1alpha2/container', submit.headers, submit.body);
    expect(answer).toMatchObject({ targetImage: `${values['repository']}/lib/a:v1`, cached: false });
    const look = () =>
      send('GET', `/v1alpha2/container/${String(answer['requestId'])}/status`, status.headers);
    let seen = await look();
    while (seen['status'] !== 'DONE') {
      await setTimeout(50);
      seen = await look();
    }
    expect(seen).toMatchObject({
      succeeded: true,
      duration: expect.stringMatching(/^[0-9]+\.[0-9]+$/) as unknown,
      creationTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/) as unknown,
    });
    expect(await fetchTree(target.url, `${client}/lib/a`, 'v1')).toEqual(
      await fetchTree(source.url, 'lib/a', 'v1'),
    );
  });
});

/** As Java's client sends it: a `Content-Type` and `Content-Length: 0` with a GET, which fetch() does not do. */
function exchange(method: string, url: string, headers: Record<string, string>, body: string) {
  return new Promise<{ code: number | undefined; text: string }>((resolve, reject) => {
    const length = { 'content-length': `${Buffer.byteLength(body)}` };
    const sent = request(url, { method, headers: { ...headers, ...length } }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk: string) => (text += chunk));
      answer.on('end', () => resolve({ code: answer.statusCode, text }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}
