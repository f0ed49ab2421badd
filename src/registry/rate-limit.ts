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
 * reset: its window slides), the IETF draft's `RateLimit: "default";r=50;t=30`, its older `RateLimit: limit=…,
 * remaining=…, reset=…` and three headers, and `X-RateLimit-…` with a reset in seconds or as a time since 1970 (GitHub,
 * GitLab).
 * @param now milliseconds since 1970; the registry's own clock, where it tells it, is what its times are of
 * @returns undefined where there is none that can be read.
 */
export function readBudget(headers: Headers, now: number): Budget | undefined {
  const text = (name: string) => String(headers[name] ?? '');
  const named = (...names: string[]) => names.map((name) => leading(text(name))).find(isKnown);
  const draft = readDraft(text('ratelimit'), text('ratelimit-policy'));
  const remaining = draft.remaining ?? named('ratelimit-remaining', 'x-ratelimit-remaining');
  if (remaining === undefined) return undefined;
  const limit = draft.limit ?? named('ratelimit-limit', 'x-ratelimit-limit');
  const told = draft.reset ?? named('ratelimit-reset', 'x-ratelimit-reset');
  const date = Date.parse(text('date'));
  const today = Math.floor((Number.isNaN(date) ? now : date) / 1000);
  // More than a year of seconds is a time.
  const reset = told !== undefined && told > 31_536_000 ? Math.max(0, told - today) : told;
  return {
    remaining,
    ...(limit !== undefined && { limit }),
    ...(reset !== undefined && { reset }),
  };
}

/** draft-ietf-httpapi-ratelimit-headers: one item for each policy, of which the one that is used up first counts. */
function readDraft(told: string, policies: string): Budget {
  const older = {
    limit: ofKey(told, 'limit'),
    remaining: ofKey(told, 'remaining'),
    reset: ofKey(told, 'reset'),
  };
  const items = itemsOf(told).flatMap(({ name, text }) => {
    const remaining = ofKey(text, 'r');
    if (remaining === undefined) return [];
    const policy = itemsOf(policies).find((item) => item.name === name);
    return [{ limit: policy && ofKey(policy.text, 'q'), remaining, reset: ofKey(text, 't') }];
  });
  const [first = older] = items.sort((a, b) => a.remaining - b.remaining || (b.reset ?? 0) - (a.reset ?? 0));
  return Object.fromEntries(Object.entries(first).filter(([, value]) => isKnown(value)));
}

/** The items of a structured list (RFC 9651); a name in quotes may hold what parts them. */
function itemsOf(list: string): { name: string; text: string }[] {
  const found = list.matchAll(/\s*("[^"]*"|[^",;\s]*)((?:"[^"]*"|[^",])*)(?:,|$)/g);
  return [...found].map(([, name = '', text = '']) => ({ name, text }));
}

function ofKey(text: string, key: string): number | undefined {
  const [, digits] = new RegExp(`(?:^|[;,])\\s*${key}\\s*=\\s*([0-9]{1,12})\\b`, 'i').exec(text) ?? [];
  return digits === undefined ? undefined : Number(digits);
}

function leading(text: string): number | undefined {
  const [, digits] = /^\s*([0-9]{1,12})\s*(?:[;,].*)?$/.exec(text) ?? [];
  return digits === undefined ? undefined : Number(digits);
}

function isKnown<T>(value: T | undefined): value is T {
  return value !== undefined;
}
