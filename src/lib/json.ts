/**
 * Values that a document may have. Real ones have some thousands; four megabytes of `{},{},` hold everybody up for a tenth of a
 * second, and grow twentyfold in memory.
 */
const valueLimit = 100_000;
const [comma, bracket, brace] = Buffer.from(',[{');

/** Reads what may be anything; undefined when it is no JSON, or has more than 100,000 values. */
export function parseJson(bytes: Uint8Array): unknown {
  // Those within texts are counted too: near enough.
  let values = 0;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if ((byte === comma || byte === bracket || byte === brace) && ++values > valueLimit) return undefined;
  }
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** A member, at any depth, of what may be anything; undefined where it is not there. */
export function member(value: unknown, ...path: string[]): unknown {
  return path.reduce<unknown>(
    (at, name) => (isObject(at) && Object.hasOwn(at, name) ? at[name] : undefined),
    value,
  );
}
