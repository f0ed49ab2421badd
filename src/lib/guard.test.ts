import http from 'node:http';
import { once } from 'node:events';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { answer, type StandIn, startStandIn } from '../../test/fixtures/stand-in.ts';
import { type Guard, type Pass, startGuard } from './guard.ts';

let server: StandIn;
let guard: Guard;
beforeAll(async () => {
  server = await startStandIn((_, response) => answer(response, 200, 'hello'));
  const rules = { allow: [], named: [server.host], loopback: false };
  guard = await startGuard({ rules, proxy: {} });
});
afterAll(async () => {
  await guard.close();
  await server.stop();
});

async function ask({ env }: Pass, path: string): Promise<number | undefined> {
  const via = new URL(env['HTTP_PROXY'] ?? '');
  const login = Buffer.from(`${via.username}:${via.password}`).toString('base64');
  const headers = { 'proxy-authorization': `Basic ${login}` };
  const asked = http.get({ host: via.hostname, port: via.port, path, headers, agent: false });
  const [answered] = (await once(asked, 'response')) as [http.IncomingMessage];
  answered.resume();
  return answered.statusCode;
}

it('lets each child through until its end, and says what it was refused', async () => {
  const [mine, yours] = await Promise.all([guard.admit(true), guard.admit(true)]);
  expect(await ask(mine, server.url)).toBe(200);
  expect(await ask(mine, 'http://10.0.0.1/')).toBe(403);
  expect(await ask(mine, 'http://10.0.0.2/')).toBe(403);
  const said = '10.0.0.1 is a private address that this service does not go to';
  expect(await mine.end()).toBe(said);
  expect(await mine.end()).toBe(said);
  expect(await ask(mine, server.url)).toBe(407);
  expect(await ask(yours, server.url)).toBe(200);
  expect(await yours.end()).toBeUndefined();
});

it('has Go speak no plain HTTP unless the child must', async () => {
  const [secure, plain] = await Promise.all([guard.admit(false), guard.admit(true)]);
  expect(secure.env).toHaveProperty('REQUEST_METHOD');
  expect(plain.env).not.toHaveProperty('REQUEST_METHOD');
  expect(plain.env).toMatchObject({ NO_PROXY: '', no_proxy: '', HTTPS_PROXY: plain.env['http_proxy'] });
});

it('leaves nobody waiting when it is closed', async () => {
  const other = await startGuard({ rules: { allow: [], named: [], loopback: false }, proxy: {} });
  const pass = await other.admit(true);
  const [ended] = await Promise.all([pass.end(), other.close()]);
  expect(ended).toBeUndefined();
  const late = await other.admit(true);
  expect(await late.end()).toBeUndefined();
  await expect(ask(late, server.url)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});
