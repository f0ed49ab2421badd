import { connect, createServer } from 'node:net';

/** Where it listens, on 127.0.0.1: in a network namespace of our own no other program has a port. */
export const relayPort = 3128;

/** Passes every connection on to a unix socket. It does not keep the process alive. */
export function serveRelay(socket: string): void {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = connect({ path: socket, allowHalfOpen: true });
    // An end is passed on, and heard out on the other side; the death of one is the death of both.
    near.pipe(far).on('error', () => undefined);
    far.pipe(near).on('error', () => undefined);
    near.once('close', () => far.destroy());
    far.once('close', () => near.destroySoon());
  });
  server.listen(relayPort, '127.0.0.1').unref();
}
