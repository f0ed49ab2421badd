import { readdirSync, readFileSync, statSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Gate, startGate } from '../fixtures/gate.ts';
import { manifestOf, noiseLayer, push } from '../fixtures/image.ts';
import {
  adminBasic,
  adminHtpasswd,
  adminLogin,
  startRegistry,
  type TestRegistry,
} from '../fixtures/registry.ts';
import { newSecret } from '../fixtures/secrets.ts';
import { createWorld, type World } from '../fixtures/world.ts';

const { username, password } = adminLogin;
const htpasswd = adminHtpasswd;
const wrong = newSecret('wrong password or key');
const base64 = (text: string) => Buffer.from(text).toString('base64');

let registries: TestRegistry[];
let gate: Gate;
let folder: string;
let world: World;
/** Everything that anybody could read: answers, logs, arguments. */
const seen: string[] = [];

beforeAll(async () => {
  registries = await Promise.all([
    startRegistry({ htpasswd }),
    startRegistry({ htpasswd }),
    startRegistry({ htpasswd }),
  ]);
  const [source, target, other] = registries as [TestRegistry, TestRegistry, TestRegistry];
  gate = await startGate(source.host);
  folder = await mkdtemp(join(tmpdir(), 'dray-secrets-'));
  const dockerConfig = join(folder, 'config.json');
  await writeFile(
    dockerConfig,
    JSON.stringify({
      auths: {
        [target.host]: { auth: base64(`${username}:${password}`) },
        [other.host]: { auth: base64(`${username}:${wrong}`) },
      },
    }),
  );
  world = await createWorld({
    settings: `
dockerConfig: ${dockerConfig}
logLevel: trace
registries:
  - {host: "${gate.host}", username: ${username}, password: {env: SOURCE_PASSWORD}}
`,
    env: { SOURCE_PASSWORD: password },
  });
});
afterAll(async () => {
  await gate.stop();
  await Promise.all(registries.map((registry) => registry.stop()));
  await rm(folder, { recursive: true, force: true });
  await world.stop();
});

/** Arguments and environment of every process below the service, sampled until stopped. */
function watchChildren(): () => string[] {
  const found = new Set<string>();
  const timer = setInterval(() => {
    for (const pid of readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name))) {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        if (command.includes('skopeo')) found.add(command + readFileSync(`/proc/${pid}/environ`, 'utf8'));
        else found.add(command);
      } catch {
        // It ended between two reads.
      }
    }
  }, 5);
  return () => {
    clearInterval(timer);
    return [...found];
  };
}

it('mirrors between two private registries, and shows the login to nobody meanwhile', async () => {
  const [source, target] = registries as [TestRegistry, TestRegistry];
  await push(source.url, 'private', '1', manifestOf([noiseLayer(1, 50_000)]), adminBasic);
  const stopWatching = watchChildren();
  const rule = gate.add(/^GET \/v2\/private\/blobs\//, { kind: 'hold' });
  const { status, body } = await world.submit(`${gate.host}/private:1`, target.host);
  expect(status, JSON.stringify(body)).toBe(200);
  await rule.met;

  const runDir = join(world.dataDir, 'run', body.buildId ?? '');
  expect(statSync(runDir).mode & 0o777).toBe(0o700);
  const files = readdirSync(runDir).filter((name) => name.endsWith('.json'));
  expect(files.sort()).toEqual(['source-auth.json', 'target-auth.json']);
  for (const [name, host] of [['source', gate.host] as const, ['target', target.host] as const]) {
    const file = join(runDir, `${name}-auth.json`);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const { auths } = JSON.parse(readFileSync(file, 'utf8')) as { auths: object };
    expect(Object.keys(auths)).toEqual([host]);
  }
  rule.release();
  const end = await world.finished(body.requestId);
  expect(end, JSON.stringify(end)).toMatchObject({ succeeded: true });
  expect(readdirSync(join(world.dataDir, 'run'))).toEqual([]);
  const lines = stopWatching();
  expect(lines.some((line) => line.includes('skopeo') && line.includes('HOME='))).toBe(true);
  seen.push(...lines, JSON.stringify([body, end]));
});

it('tells a wrong login, a missing one and a wrong key, without repeating them', async () => {
  const [, target, other] = registries as [TestRegistry, TestRegistry, TestRegistry];
  const locked = await startRegistry({ htpasswd });
  try {
    const answers = [
      await world.submit(`${other.host}/private:1`, target.host),
      await world.submit(`${gate.host}/private:1`, other.host),
      await world.submit(`${gate.host}/private:1`, locked.host),
      await world.submit(`${locked.host}/private:1`, target.host),
      await world.submit(`${gate.host}/private:1`, target.host, { towerAccessToken: wrong }),
    ];
    expect(answers.map(({ status, body }) => [status, body.code, body.side])).toEqual([
      [400, 'credentials_rejected', 'source'],
      [400, 'credentials_rejected', 'target'],
      [400, 'login_required', 'target'],
      [400, 'login_required', 'source'],
      [401, 'unauthenticated', undefined],
    ]);
    seen.push(JSON.stringify(answers));
  } finally {
    await locked.stop();
  }
});

it('keeps secrets out of logs, errors, arguments, environments, records and the database', async () => {
  const authorization = `Bearer ${world.service.key}`;
  const { body } = await world.call<{ mirrors: { id: string }[] }>('GET', '/v1/mirrors', undefined, {
    authorization,
  });
  for (const { id } of body.mirrors)
    for (const path of [`/v1alpha1/mirrors/${id}/logs`, `/v1alpha1/mirrors/${id}`, `/view/mirrors/${id}`])
      seen.push(JSON.stringify((await world.call('GET', path, undefined, { authorization })).body));
  await world.service.stop();
  seen.push(world.service.output());
  const database = await PGlite.create({ dataDir: join(world.dataDir, 'db') });
  const tables = await database.query<{ name: string }>(
    `select quote_ident(schemaname) || '.' || quote_ident(tablename) as name from pg_tables
     where schemaname in ('public', 'pgboss')`,
  );
  for (const { name } of tables.rows)
    seen.push(JSON.stringify((await database.query(`select * from ${name}`)).rows));
  await database.close();

  const all = seen.join('\n');
  // The search finds what is there.
  for (const present of [username, 'private', 'key-', '"mirror_id"']) expect(all).toContain(present);
  const secrets = [password, wrong, world.service.key].flatMap((secret) => [
    secret,
    base64(secret),
    base64(`${username}:${secret}`),
    base64(`${username}:${secret}`).replace(/=+$/, ''),
  ]);
  // Not the whole text in the message: it would be long, and hold the secret.
  expect(secrets.filter((secret) => all.includes(secret))).toEqual([]);
  await world.restart();
});
