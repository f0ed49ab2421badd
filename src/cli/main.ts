import { Command, CommanderError } from 'commander';
import { ConfigError, loadConfig } from '../config.ts';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import { readVersion } from '../version.ts';
import { cancelCommand } from './commands/cancel.ts';
import { doctorCommand } from './commands/doctor.ts';
import { keysCommand } from './commands/keys.ts';
import { listCommand } from './commands/list.ts';
import { logsCommand } from './commands/logs.ts';
import { mirrorCommand } from './commands/mirror.ts';
import { receiptCommand, receiptKeysCommand } from './commands/receipt.ts';
import { retryCommand } from './commands/retry.ts';
import { serveCommand } from './commands/serve.ts';
import { statusCommand } from './commands/status.ts';
import { verifyCommand } from './commands/verify.ts';
import { type Context, exitStatus, type ExitStatus } from './context.ts';
import { formatFailure, paint } from './format.ts';

/** Every command, in the order of the help. */
const commands = [
  mirrorCommand,
  statusCommand,
  listCommand,
  logsCommand,
  cancelCommand,
  retryCommand,
  verifyCommand,
  receiptCommand,
  receiptKeysCommand,
  doctorCommand,
  keysCommand,
  serveCommand,
];

const stop = new AbortController();
let stoppedAt = 0;
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    // npm passes Ctrl-C on to a child that the terminal has told already: only a later one is impatience.
    if (stop.signal.aborted && performance.now() - stoppedAt > 1000) process.exit(exitStatus.interrupted);
    if (!stop.signal.aborted) stoppedAt = performance.now();
    stop.abort();
  });

const context: Context = {
  config: loadConfig,
  signal: stop.signal,
  stdout: process.stdout,
  stderr: process.stderr,
};

async function main(argv: readonly string[]): Promise<ExitStatus> {
  let status: ExitStatus = exitStatus.ok;
  const program = new Command('dray')
    .description('Copies container images, on demand, into a registry that you control.')
    .version(readVersion().version)
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', '\nSettings come from dray.yaml and the environment; see the README.')
    .exitOverride();
  for (const create of commands) {
    const command = create(context, (end) => (status = end));
    for (const each of [command, ...command.commands]) each.copyInheritedSettings(program);
    program.addCommand(command);
  }
  try {
    await program.parseAsync(argv, { from: 'user' });
    return status;
  } catch (error) {
    return explain(error);
  }
}

function explain(error: unknown): ExitStatus {
  const { stderr } = process;
  // Commander has said it already.
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitStatus.ok : exitStatus.usage;
  const label = paint(stderr, 'red', 'dray:');
  if (error instanceof ConfigError) {
    stderr.write(`${label} wrong settings\n${error.message.replace(/^/gm, '  ')}\n`);
    return exitStatus.config;
  }
  if (stop.signal.aborted) return exitStatus.interrupted;
  const known = asMirrorError(error);
  stderr.write(`${label} ${formatFailure(known)}\n`);
  if (known.code === 'internal' && !(error instanceof MirrorError))
    stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return exitStatus.failed;
}

const status = await main(process.argv.slice(2));
// What was written must be out before the process ends; a pipe whose reader has gone is no reason to wait.
for (const stream of [process.stdout, process.stderr])
  await new Promise((resolve) => {
    stream.once('error', resolve);
    stream.write('', resolve);
  });
process.exit(status);
