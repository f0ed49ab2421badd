import { InvalidArgumentError, Option } from 'commander';
import { MirrorError } from '../core/errors.ts';
import { type Client, findService } from './client.ts';
import type { Context } from './context.ts';

/** Options that every command which talks to a service has. */
export interface ServiceOptions {
  url?: string;
}

export function serviceOption(): Option {
  return new Option(
    '--url <url>',
    'the service to use (default: DRAY_URL, else the configured host and port)',
  );
}

/** The named or running service; undefined when none was named and none runs. */
export function locateService(
  { config, signal }: Context,
  { url }: ServiceOptions,
): Promise<Client | undefined> {
  const settings = config();
  return findService(settings, settings.keyFile, url, signal);
}

/** @throws MirrorError when there is no service. */
export async function requireService(context: Context, options: ServiceOptions): Promise<Client> {
  const service = await locateService(context, options);
  if (service) return service;
  const { host, port } = context.config();
  throw new MirrorError('refused', `No service runs at ${host}:${port}.`, {
    remedy: 'Start it with `dray serve`, or name another with --url.',
  });
}

/** Reads a count from the command line. */
export function parseCount(text: string): number {
  if (!/^[1-9][0-9]{0,6}$/.test(text)) throw new InvalidArgumentError('Give a number from 1 on.');
  return Number(text);
}
