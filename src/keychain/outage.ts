import { MirrorError } from '../core/errors.ts';

const tooLate = /^(?:ABORT_ERR|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|UND_ERR_ABORTED|UND_ERR_\w+_TIMEOUT)$/;
// Not every errno: that of a key file that is not there is no outage.
const network =
  /^(?:ECONN[A-Z]+|ENOTFOUND|EAI_AGAIN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ABORT_ERR|UND_ERR_\w+)$/;
const untrusted = /^(?:ERR_(?:SSL|TLS)_|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|EPROTO|UND_ERR_PRX_TLS)/;

/**
 * Names a failure on the way to a cloud's API; undefined for one that the API itself has answered with.
 * @param host the API, or whose login it was to be.
 * @param what what was tried: "getting a login for quay.io".
 */
export function classifyOutage(error: unknown, host: string, what: string): MirrorError | undefined {
  const code = innermostCode(error);
  const named = (kind: 'timeout' | 'tls' | 'registry_unavailable', how: string) =>
    // What the libraries throw carries their requests, with tokens in them.
    new MirrorError(kind, `${host} ${how}, when ${what}.`, { cause: new Error(code) });
  if (untrusted.test(code)) return named('tls', 'has a certificate that is not trusted');
  if (tooLate.test(code)) return named('timeout', 'does not answer in time');
  return network.test(code) ? named('registry_unavailable', 'could not be reached') : undefined;
}

/** The libraries wrap what the socket said, some of them several times. */
function innermostCode(error: unknown): string {
  let code = '';
  let current: unknown = error;
  for (let depth = 0; depth < 6 && typeof current === 'object' && current !== null; depth++) {
    const { name, code: own, cause, errors } = current as Record<string, unknown>;
    if (name === 'AbortError' || name === 'TimeoutError') return 'ABORT_ERR';
    if (typeof own === 'string' && (network.test(own) || untrusted.test(own))) code = own;
    current = (Array.isArray(errors) ? (errors as unknown[])[0] : undefined) ?? cause;
  }
  return code;
}

/**
 * Waits for something that others may wait for too.
 * @throws MirrorError `timeout` when the caller's signal ends the wait.
 */
export async function inTime<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof MirrorError || !/^(?:Abort|Timeout)Error$/.test((error as Error).name)) throw error;
    throw new MirrorError('timeout', `There was no time left for ${what}.`, { cause: error });
  }
}
