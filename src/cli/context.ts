import type { Config } from '../config.ts';

/** What every command gets. */
export interface Context {
  /** Reads the settings; only a command that needs them fails on wrong ones. @throws ConfigError. */
  config(): Config;
  /** Aborted by the first SIGINT (Ctrl-C) or SIGTERM. */
  signal: AbortSignal;
  stdout: NodeJS.WriteStream;
  stderr: NodeJS.WriteStream;
}

/**
 * Exit statuses. `pending`: nothing failed, but not everything is there yet (a dry run, `--no-wait`). The last
 * three are those of sysexits(3).
 */
export const exitStatus = { ok: 0, failed: 1, interrupted: 130, usage: 64, pending: 75, config: 78 } as const;
export type ExitStatus = (typeof exitStatus)[keyof typeof exitStatus];

/** One JSON document a line, as every command's `--json` prints. */
export function printJson({ stdout }: Context, value: unknown): void {
  stdout.write(`${JSON.stringify(value)}\n`);
}
