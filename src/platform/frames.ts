import { z } from 'zod';

// What crosses the pairing socket: JSON text frames, one object each, told apart by "@type" (libseqera, "pairing").

/** Bytes of one frame, in either direction. */
export const frameLimit = 1024 * 1024;

/** An HTTP request that Platform makes to itself for us. */
export interface ProxyRequest {
  method: 'GET' | 'POST';
  uri: string;
  /** The whole value of Authorization. */
  auth: string | null;
  headers?: Record<string, string[]>;
  body?: string;
}

export interface ProxyAnswer {
  status: number;
  /** Names in lower case. */
  headers: Map<string, string[]>;
  /** Empty where there is none. */
  body: string;
}

export type Frame =
  | { type: 'heartbeat'; msgId: string }
  /** Without an answer where it makes no sense. */
  | { type: 'answer'; msgId: string; answer: ProxyAnswer | undefined }
  /** Of a type that is not for us. */
  | { type: 'other' };

const typed = z.object({ '@type': z.string().min(1).max(100) });
const addressed = z.object({ msgId: z.string().min(1).max(200) });
const proxyAnswer = z.object({
  status: z.int().min(100).max(599),
  body: z.string().nullish(),
  // Java's HttpHeaders.map(); it writes what is absent as null.
  headers: z.record(z.string(), z.union([z.string(), z.array(z.string().nullable())]).nullable()).nullish(),
});

/** Reads a frame of Platform's; undefined for nonsense. Fields that are not known are ignored. */
export function readFrame(text: string): Frame | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const type = typed.safeParse(value).data?.['@type'];
  if (type === undefined) return undefined;
  if (type !== 'pairing-heartbeat' && type !== 'proxy-http-response') return { type: 'other' };
  const msgId = addressed.safeParse(value).data?.msgId;
  if (msgId === undefined) return undefined;
  if (type === 'pairing-heartbeat') return { type: 'heartbeat', msgId };
  const { data } = proxyAnswer.safeParse(value);
  if (!data) return { type: 'answer', msgId, answer: undefined };
  const headers = new Map<string, string[]>();
  for (const [name, given] of Object.entries(data.headers ?? {})) {
    const values = [given].flat().filter((each) => each !== null);
    headers.set(name.toLowerCase(), [...(headers.get(name.toLowerCase()) ?? []), ...values]);
  }
  return { type: 'answer', msgId, answer: { status: data.status, headers, body: data.body ?? '' } };
}

export function writeHeartbeat(msgId: string): string {
  return JSON.stringify({ '@type': 'pairing-heartbeat', msgId });
}

export function writePairing(msgId: string, pair: { id: string; publicKey: string }): string {
  return JSON.stringify({
    '@type': 'pairing-response',
    msgId,
    pairingId: pair.id,
    publicKey: pair.publicKey,
  });
}

export function writeRequest(msgId: string, request: ProxyRequest): string {
  const { method, uri, auth, headers = {}, body = null } = request;
  return JSON.stringify({ '@type': 'proxy-http-request', msgId, method, uri, auth, body, headers });
}
