/** What a registry says of how much may still be asked of it. */
export interface Budget {
  limit?: number;
  remaining?: number;
  /** Seconds until it is refilled. */
  reset?: number;
}

type Headers = Record<string, string | string[] | undefined>;

/**
 * Reads the headers by which registries tell their quota: Docker Hub's `RateLimit-Remaining: 76;w=21600` (without a
 * reset: its window slides), the IETF draft's `RateLimit: "default";r=50;t=30` and its older three headers, and
 * `X-RateLimit-…` with a reset in seconds or as a time since 1970 (GitHub).
 * @returns undefined where there is none that can be read.
 */
export function readBudget(headers: Headers, now: number): Budget | undefined {
  const named = (...names: string[]) => {
    for (const name of names) {
      const [, digits] = /^\s*([0-9]{1,12})\s*(?:[;,].*)?$/.exec(String(headers[name] ?? '')) ?? [];
      if (digits !== undefined) return Number(digits);
    }
    return undefined;
  };
  const draft = /;\s*r=([0-9]{1,12})(?:.*;\s*t=([0-9]{1,12}))?/.exec(String(headers['ratelimit'] ?? ''));
  const limit = named('ratelimit-limit', 'x-ratelimit-limit');
  const remaining = draft?.[1] ? Number(draft[1]) : named('ratelimit-remaining', 'x-ratelimit-remaining');
  const told = draft?.[2] ? Number(draft[2]) : named('ratelimit-reset', 'x-ratelimit-reset');
  if (remaining === undefined) return undefined;
  // More than a year of seconds is a time.
  const reset = told !== undefined && told > 31_536_000 ? Math.max(0, told - Math.floor(now / 1000)) : told;
  return {
    remaining,
    ...(limit !== undefined && { limit }),
    ...(reset !== undefined && { reset }),
  };
}
