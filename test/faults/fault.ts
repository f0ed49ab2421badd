import type { CallKind } from './calls.ts';

/** What happens to a call. Numbers of bytes are those of a body; a body that is shorter ends where it ends. */
export type Fault =
  /** It is answered late. */
  | { kind: 'latency'; ms: number }
  /** The connection dies: `hard` with RST, else with FIN. */
  | { kind: 'reset'; at: 'arrival' | 'lost'; hard: boolean }
  /** It dies after so many bytes of the request's, or of the answer's, body. */
  | { kind: 'reset'; at: 'request' | 'answer'; after: number; hard: boolean }
  /**
   * The answer ends early, and in good order: with the length of the whole (`short`), the length of what is sent
   * (`consistent`), or none (`chunked`).
   */
  | { kind: 'truncate'; after: number; length: 'short' | 'consistent' | 'chunked' }
  /** One bit is another: of the request on its way to the registry, or of its answer. */
  | { kind: 'flip'; where: 'request' | 'answer'; at: number; bit: number }
  /** It is answered here, and the registry hears nothing of it. */
  | { kind: 'answer'; status: number; headers: Record<string, string>; body: string }
  /** Slow loris: the body comes in small pieces, over so many milliseconds. */
  | { kind: 'drip'; ms: number }
  /** Slow loris: after so many bytes of the answer nothing more comes; below 0, not even its head. */
  | { kind: 'stall'; after: number }
  /**
   * The registry says that it has stored it, and has not; or it has, and loses it at once, or a blob that it
   * names.
   */
  | { kind: 'forget'; what: 'never-stored' | 'itself' | 'a-blob' }
  /** What was there when it was first asked for is not there the next time. */
  | { kind: 'vanish' }
  /** The disk of the registry has no room. */
  | { kind: 'full-disk' }
  /** The registry is killed; it is back after so many milliseconds, and refuses connections until then. */
  | { kind: 'restart'; ms: number };

/** A fault and the calls that it meets. */
export interface Rule {
  kinds: readonly CallKind[];
  /** Absent: any. Ping and token calls name none and fit whatever it is. */
  repository?: string;
  /** How many calls that fit are spared first. */
  skip: number;
  /** How many it meets then. */
  times: number;
  fault: Fault;
}

/** A rule as a readable line. */
export function describeRule({ kinds, repository, skip, times, fault }: Rule): string {
  const { kind, ...details } = fault;
  const numbers = Object.entries(details)
    .map(([name, value]) => {
      const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
      return `${name}=${text.length > 60 ? `${text.slice(0, 60)}…` : text}`;
    })
    .join(' ');
  const often = times === Infinity ? 'every call' : times === 1 ? 'one call' : `${times} calls`;
  return `${kind}${numbers && ` (${numbers})`} on ${often} of ${kinds.join('|')}${
    repository === undefined ? '' : ` of ${repository}`
  }${skip > 0 ? `, after ${skip}` : ''}`;
}
