import { execFileSync } from 'node:child_process';
import { cpus, loadavg, totalmem } from 'node:os';
import { measureCold } from './cold.ts';
import { measureCommand } from './command.ts';
import { measureHot } from './hot.ts';
import { createStage, type Stage } from './stage.ts';
import { measureStampede } from './stampede.ts';
import { measureStart } from './start.ts';
import { formatTable, type Row } from './table.ts';

/** Every measurement, in the order of the table. */
const measurements: Record<string, (stage: Stage, say: (text: string) => void) => Promise<Row[]>> = {
  hot: measureHot,
  cold: measureCold,
  stampede: measureStampede,
  command: measureCommand,
  start: measureStart,
};

const say = (text: string) => void process.stderr.write(`  ${text}\n`);

async function main(names: readonly string[], stage: Stage): Promise<number> {
  const unknown = names.find((name) => !Object.hasOwn(measurements, name));
  if (unknown !== undefined) {
    console.error(
      `There is no measurement "${unknown}". Name some of: ${Object.keys(measurements).join(', ')}.`,
    );
    return 64;
  }
  const missing = ['skopeo', 'docker-registry'].filter((command) => versionOf(command) === undefined);
  if (missing.length > 0) {
    console.log(`skipped: ${missing.join(' and ')} not installed here (Debian has packages of these names).`);
    return 0;
  }
  const rows: Row[] = [];
  for (const [name, measure] of Object.entries(measurements)) {
    if (names.length > 0 && !names.includes(name)) continue;
    process.stderr.write(`${name}\n`);
    const part = stage.part();
    try {
      rows.push(...(await measure(part, say)));
    } finally {
      await part.close();
    }
  }
  console.log(`\n${describeMachine()}\n\n${formatTable(rows)}`);
  return 0;
}

/** Figures mean nothing without what they were measured on, and what else ran there. */
function describeMachine(): string {
  const [cpu] = cpus();
  const facts = [
    `${cpus().length} × ${cpu?.model.trim() ?? 'unknown processor'}`,
    `${Math.round(totalmem() / 2 ** 30)} GiB`,
    `Node ${process.versions.node}`,
    `Skopeo ${versionOf('skopeo') ?? ''}`,
    `docker-registry ${versionOf('docker-registry') ?? ''}`,
    `load average of the last five minutes ${loadavg()[1]?.toFixed(1) ?? ''}`,
  ];
  return `Measured ${new Date().toISOString().slice(0, 10)} on ${facts.join(', ')}.`;
}

function versionOf(command: string): string | undefined {
  try {
    const text = execFileSync(command, ['--version'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return /\d+\.\d+\.\d+/.exec(text)?.[0] ?? text.trim();
  } catch {
    return undefined;
  }
}

const stage = createStage();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void stage.close().finally(() => process.exit(130)));
try {
  process.exitCode = await main(process.argv.slice(2), stage);
} finally {
  await stage.close();
}
