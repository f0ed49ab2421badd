import { parentPort, workerData } from 'node:worker_threads';
import { type AddressRules, createAddressPolicy } from './address.ts';
import { serveGuard } from './guard-server.ts';
import type { ProxySettings } from './http.ts';

export interface GuardRules {
  rules: AddressRules;
  proxy: ProxySettings;
  /** Path of a unix socket to listen on, instead of a port. */
  socket?: string | undefined;
}

/** What the guard's thread is told. */
export type Ask = { id: number } & ({ admit: string } | { end: string });
/** What it tells: once where it listens, then an answer to all that it was told. */
export type Told = { port: number | undefined } | { id: number; refused: string | undefined };

const { rules, proxy, socket } = workerData as GuardRules;
const tell = (what: Told) => parentPort?.postMessage(what);

const server = await serveGuard({ policy: createAddressPolicy(rules), proxy, socket });
parentPort?.on('message', (ask: Ask) => {
  if ('admit' in ask) server.admit(ask.admit);
  tell({ id: ask.id, refused: 'end' in ask ? server.end(ask.end) : undefined });
});
tell({ port: server.port });
