import { appendFileSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { PGlite } from '@electric-sql/pglite';
import { keepEvidence, openEvidence } from '../fixtures/evidence.ts';
import { registeredSecrets } from '../fixtures/secrets.ts';
import { searchFolder } from './search.ts';

// A process beside the suite (`setup.ts`), so that samples come in time whatever the tests do. It notes what anybody
// on the machine can see of processes, and goes through the databases that tests are done with.

const evidence = process.env['TEST_EVIDENCE'] ?? '';
const databases = join(evidence, 'databases');
await mkdir(databases, { recursive: true });

const note = openEvidence('processes', 'seen');
const noted = new Set<string>();
/** How often each process was seen. */
const sightings = new Map<string, number>();
let ticks = 0;

function sample(): void {
  ticks++;
  const present = new Set(readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name)));
  for (const pid of sightings.keys()) if (!present.has(pid)) sightings.delete(pid);
  for (const pid of present) {
    const times = (sightings.get(pid) ?? 0) + 1;
    sightings.set(pid, times);
    // A process soon becomes what it is going to be; later its title changes at most. Reading costs the most.
    if (times <= 10 || ticks % 20 === 0) look(pid);
  }
}

function look(pid: string): void {
  try {
    let seen = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    // The tests' own processes may have secrets in their environment; Skopeo has no business with any.
    if (basename(seen.split('\0')[0] ?? '') === 'skopeo')
      seen += `\0environment:\0${readFileSync(`/proc/${pid}/environ`, 'utf8')}`;
    if (noted.has(seen)) return;
    noted.add(seen);
    note(`${seen.replaceAll('\0', ' ')}\n`);
  } catch {
    // It ended between two reads.
  }
}

/** Searches and dumps one database, and removes it. */
async function goThrough(name: string): Promise<void> {
  const folder = join(databases, name);
  const complain = (text: string) => appendFileSync(join(evidence, 'complaints.txt'), `${text}\n`);
  try {
    for (const { label, file } of await searchFolder(folder, registeredSecrets(), evidence))
      complain(`${label}: in the database's file ${join(name, file)}`);
    if (name.startsWith('pglite')) keepEvidence('dumps', name, await dump(folder));
  } catch (error) {
    complain(`The database ${name} can't be searched: ${(error as Error).message}`);
  }
  await rm(folder, { recursive: true, force: true });
}

async function dump(folder: string): Promise<string> {
  // Small buffers are quickly made.
  const startParams = [...PGlite.defaultStartParams, '-c', 'shared_buffers=16MB'];
  const database = await PGlite.create({ dataDir: folder, startParams });
  try {
    const tables = await database.query<{ name: string }>(
      `select quote_ident(schemaname) || '.' || quote_ident(tablename) as name from pg_tables
       where schemaname in ('public', 'pgboss')`,
    );
    const parts = [];
    for (const { name } of tables.rows) {
      const { rows } = await database.query<{ row: string }>(`select one::text as row from ${name} as one`);
      parts.push(`${name}\n`, ...rows.map(({ row }) => `${row}\n`));
    }
    return parts.join('');
  } finally {
    await database.close();
  }
}

const suite = { hasEnded: false };
process.on('message', () => (suite.hasEnded = true));
// The suite was killed.
process.on('disconnect', () => process.exit());
const sampling = setInterval(sample, 50);
process.send?.('ready');
for (;;) {
  // Looked at before the last round: what arrives before the end is told is in it.
  const isLast = suite.hasEnded;
  for (const name of await readdir(databases)) await goThrough(name);
  if (isLast) break;
  await setTimeout(100);
}
clearInterval(sampling);
process.disconnect();
