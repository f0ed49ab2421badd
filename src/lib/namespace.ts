import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname } from 'node:path';
import { run } from './spawn.ts';

/** A network namespace for children, where nothing is reachable but its own loopback and one socket of ours. */
export interface Namespace {
  /** Put before a command, it becomes that command in a new namespace: the process stays the same. */
  command: readonly [string, ...string[]];
  env: Record<string, string>;
  /** Path of a unix socket, which can be reached from every network namespace. Somebody has to listen there. */
  socket: string;
}

const withLoopback = 'ip link set lo up || exit';
/** The first that works. What belongs to others is not to be seen from a user namespace, by root neither. */
const ways: Namespace['command'][] = [
  ['unshare', '--net', 'sh', '-c', `${withLoopback}; exec "$@"`, 'sh'],
  [
    ...(['unshare', '--user', '--map-current-user', '--keep-caps', '--net', 'sh', '-c'] as const),
    `${withLoopback}; exec setpriv --inh-caps=-all --ambient-caps=-all --bounding-set=-all "$@"`,
    'sh',
  ],
];

/** Milliseconds for all that is tried; what does not end then has 1.5 s more. */
const patience = 1500;

/**
 * Finds out how this machine makes such namespaces (with util-linux and iproute2), by making them.
 * @param path where to look for commands, as in PATH
 * @throws Error that says why it makes none.
 */
export async function findNamespace(socket: string, path: string | undefined): Promise<Namespace> {
  // Administrators' commands are not on every user's path.
  const env = { PATH: `${path ?? '/usr/bin:/bin'}:/usr/sbin:/sbin` };
  const signal = AbortSignal.timeout(patience);
  await mkdir(dirname(socket), { recursive: true, mode: 0o700 });
  // Its path can be too long, and not every file system has sockets. Another name: it may be in use.
  const trial = createServer().listen(`${socket}.${process.pid}`);
  await once(trial, 'listening');
  trial.close();
  let said = '';
  for (const [name, ...args] of ways) {
    said = '';
    const onLine = (line: string) => (said ||= line);
    const exit = await run(name, [...args, 'test', '-w', dirname(socket)], { env, signal, onLine });
    if (exit.code === 0) return { command: [name, ...args], env, socket };
  }
  throw new Error(said || `unshare did not end well within ${patience} ms.`);
}
