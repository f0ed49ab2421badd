import type { CallKind, Side } from './calls.ts';
import type { Fault } from './fault.ts';
import type { Random } from './random.ts';

/** What a fault may be made of: how many bytes the bodies have that it meets. */
export interface Sizes {
  layer: number;
  manifest: number;
}

/** One kind of fault on one side, and what it may lead to. */
export interface Entry {
  /** The row of the table. */
  name: string;
  side: Side;
  /** One of these lists is chosen. */
  calls: readonly (readonly CallKind[])[];
  /** One after the other; the last of a lasting fault stays. */
  faults: (random: Random, sizes: Sizes, kind: CallKind) => Fault[];
  /** With these codes a mirror, or a submit, may fail that meets it; a fault that passes must not make one fail. */
  codes: readonly string[];
  /** With these it may fail at once, though it passes: the answer is that to something that is wrong for good. */
  final?: readonly string[];
  /** It does not pass by itself. */
  lasting?: true;
  /** How many of a mirror's tries each call that it meets may cost; 1 if absent. */
  cost?: number;
  /** It is not about one image. */
  everywhere?: true;
  /** It is no fault of a call, but of the tokens of this registry, which end at once or in the middle of a copy. */
  tokens?: 'at once' | 'in mid-copy';
  /** Waits for what has no limit without this setting. */
  needs?: 'stallLimit';
}

const json = { 'content-type': 'application/json' };
const error = (code: string, message: string) => `{"errors":[{"code":"${code}","message":"${message}"}]}`;
const tooMany = error('TOOMANYREQUESTS', 'You have reached your pull rate limit.');

/** Every form in which registries are seen to say "too many requests". */
function limit(random: Random, seconds: number): Fault {
  const forms: [Record<string, string>, string][] = [
    [{ 'retry-after': String(seconds), ...json }, tooMany],
    [{ 'retry-after': `in ${seconds} s`, ...json }, tooMany],
    [{ 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '0;w=21600', ...json }, tooMany],
    [{ ...json }, tooMany],
    [{ 'content-type': 'text/html' }, '<html>Too Many Requests</html>'],
    [{}, ''],
  ];
  const [headers, body] = random.pick(seconds > 1 ? forms.slice(0, 2) : forms);
  return { kind: 'answer', status: 429, headers, body };
}

function brokenServer(random: Random): Fault {
  const status = random.pick([500, 502, 503, 504]);
  const [headers, body]: [Record<string, string>, string] = random.pick([
    [{ 'content-type': 'text/html' }, '<html><body><h1>Bad day</h1></body></html>'],
    [json, error('UNKNOWN', 'unknown error')],
    [{}, ''],
  ]);
  return { kind: 'answer', status, headers, body };
}

const refuse = (status: number, code: string, message: string): Fault => ({
  kind: 'answer',
  status,
  headers: json,
  body: error(code, message),
});

const bodyOf = (kind: CallKind, { layer, manifest }: Sizes) =>
  kind === 'blob-get' || kind.startsWith('upload') ? layer : manifest;
const someByte = (random: Random, sizes: Sizes, kind: CallKind) => random.between(0, bodyOf(kind, sizes));
const cut = (random: Random, sizes: Sizes, kind: CallKind): Fault => ({
  kind: 'reset',
  at: 'answer',
  after: someByte(random, sizes, kind),
  hard: random.chance(0.5),
});
const flip =
  (where: 'request' | 'answer') =>
  (random: Random, sizes: Sizes, kind: CallKind): Fault => ({
    kind: 'flip',
    where,
    at: someByte(random, sizes, kind),
    bit: random.between(0, 7),
  });
const truncate =
  (...lengths: ('short' | 'consistent' | 'chunked')[]) =>
  (random: Random, sizes: Sizes, kind: CallKind): Fault => ({
    kind: 'truncate',
    // A whole one would not be truncated.
    after: Math.max(0, someByte(random, sizes, kind) - 1),
    length: random.pick(lengths),
  });
const one =
  (make: (random: Random, sizes: Sizes, kind: CallKind) => Fault): Entry['faults'] =>
  (...of) => [make(...of)];
const always = (fault: Fault): Entry['faults'] => one(() => fault);

const reads: CallKind[][] = [['manifest-get'], ['blob-get']];
const bodies: CallKind[][] = [['upload-patch'], ['manifest-put'], ['tag-put']];
const stores: CallKind[][] = [['upload-put'], ['manifest-put'], ['tag-put']];
const writes: CallKind[][] = [['upload-post'], ['upload-patch'], ...stores];
const anyOf: Record<Side, CallKind[][]> = {
  source: [['ping'], ['token'], ['manifest-head'], ...reads],
  target: [['ping'], ['token'], ['manifest-head'], ['manifest-get'], ['blob-head'], ...writes],
};
const each = (...kinds: CallKind[]): CallKind[][] => kinds.map((kind) => [kind]);

/** Faults that pass: whatever meets them must arrive in the end. */
const passing: Entry[] = [
  ...(['source', 'target'] as const).flatMap((side): Entry[] => [
    {
      name: 'latency',
      side,
      calls: anyOf[side],
      faults: one((random) => ({ kind: 'latency', ms: random.between(50, 1200) })),
      codes: ['timeout'],
      cost: 0,
    },
    {
      name: 'reset before the answer',
      side,
      calls: anyOf[side],
      faults: one((random) => ({ kind: 'reset', at: 'arrival', hard: random.chance(0.5) })),
      codes: ['reset'],
    },
    {
      name: 'reset in the answer',
      side,
      calls: side === 'source' ? reads : each('manifest-get'),
      faults: one(cut),
      codes: ['reset'],
    },
    {
      name: 'truncated answer',
      side,
      calls: side === 'source' ? reads : each('manifest-get'),
      faults: one(truncate('short', 'consistent', 'chunked')),
      codes: ['reset', 'digest_mismatch'],
    },
    {
      name: 'flipped bit in the answer',
      side,
      calls: side === 'source' ? reads : each('manifest-get'),
      faults: one(flip('answer')),
      codes: ['digest_mismatch'],
    },
    {
      name: '429',
      side,
      calls: anyOf[side],
      faults: one((random) => limit(random, 1)),
      codes: ['rate_limited'],
    },
    { name: '5xx', side, calls: anyOf[side], faults: one(brokenServer), codes: ['registry_unavailable'] },
    {
      name: 'slow loris: drips',
      side,
      calls: side === 'source' ? reads : each('manifest-get'),
      faults: one((random) => ({ kind: 'drip', ms: random.between(300, 2000) })),
      codes: ['timeout'],
      cost: 0,
    },
    {
      name: 'slow loris: stops',
      side,
      calls: side === 'source' ? each('blob-get') : each('upload-put', 'blob-head'),
      faults: one((random, sizes, kind) => ({
        kind: 'stall',
        after: random.between(-1, bodyOf(kind, sizes) - 1),
      })),
      codes: ['timeout'],
      needs: 'stallLimit',
    },
    {
      name: 'tokens expire in mid-copy',
      side,
      calls: [],
      faults: () => [],
      codes: ['credentials_rejected'],
      tokens: 'in mid-copy',
      cost: 3,
    },
    {
      name: 'registry restarts',
      side,
      calls: anyOf[side].filter(([kind]) => kind !== 'token'),
      faults: one((random) => ({ kind: 'restart', ms: random.between(0, 250) })),
      codes: ['refused', 'reset'],
      everywhere: true,
      cost: 3,
    },
  ]),
  {
    name: 'reset in the request',
    side: 'target',
    calls: bodies,
    faults: one((random, sizes, kind) => ({
      kind: 'reset',
      at: 'request',
      after: someByte(random, sizes, kind),
      hard: random.chance(0.5),
    })),
    codes: ['reset'],
  },
  {
    name: 'answer lost after the work was done',
    side: 'target',
    calls: writes,
    faults: one((random) => ({ kind: 'reset', at: 'lost', hard: random.chance(0.5) })),
    codes: ['reset'],
  },
  {
    name: 'flipped bit in the request',
    side: 'target',
    calls: bodies,
    faults: one(flip('request')),
    codes: ['digest_mismatch'],
    // MANIFEST_INVALID, where the bit makes it no JSON.
    final: ['push_refused'],
  },
  {
    name: 'says it has stored, and has not',
    side: 'target',
    calls: stores,
    faults: always({ kind: 'forget', what: 'never-stored' }),
    codes: ['registry_unavailable', 'copy_failed', 'digest_mismatch'],
  },
  {
    name: 'stores and then forgets',
    side: 'target',
    calls: each('upload-put', 'manifest-put'),
    faults: always({ kind: 'forget', what: 'itself' }),
    codes: ['registry_unavailable', 'copy_failed'],
  },
  {
    name: 'loses a blob of what it has stored',
    side: 'target',
    // Not of the tag: what is lost after the last look can only be found by the next one.
    calls: each('manifest-put'),
    faults: always({ kind: 'forget', what: 'a-blob' }),
    codes: ['registry_unavailable', 'copy_failed', 'blob_unknown'],
  },
  {
    name: 'disk full',
    side: 'target',
    calls: [['upload-post', 'upload-patch', 'upload-put', 'manifest-put', 'tag-put']],
    faults: always({ kind: 'full-disk' }),
    codes: ['registry_unavailable', 'registry_full'],
    everywhere: true,
  },
];

/** Faults that stay: what meets them must say so, with one of these codes and on this side. */
const lasting: Entry[] = [
  ...(['source', 'target'] as const).flatMap((side): Entry[] => {
    const big = side === 'source' ? each('blob-get') : each('upload-patch', 'manifest-put', 'tag-put');
    const some = side === 'source' ? each('manifest-head', 'manifest-get', 'blob-get') : writes;
    return [
      { name: '5xx', side, calls: some, faults: one(brokenServer), codes: ['registry_unavailable'] },
      {
        name: '429',
        side,
        calls: some,
        faults: one((random) => limit(random, 1000)),
        codes: ['rate_limited'],
      },
      {
        name: 'reset before the answer',
        side,
        calls: some,
        faults: one((random) => ({ kind: 'reset', at: 'arrival', hard: random.chance(0.5) })),
        codes: ['reset'],
      },
      {
        name: '403',
        side,
        calls: big,
        faults: always(refuse(403, 'DENIED', 'requested access to the resource is denied')),
        codes: ['denied'],
      },
      {
        name: 'slow loris: stops',
        side,
        calls: side === 'source' ? each('blob-get') : each('upload-put'),
        faults: always({ kind: 'stall', after: 0 }),
        codes: ['timeout'],
        needs: 'stallLimit',
      },
      {
        name: 'tokens expire at once',
        side,
        calls: [],
        faults: () => [],
        codes: ['credentials_rejected'],
        tokens: 'at once',
      },
    ];
  }),
  {
    name: 'blob disappears',
    side: 'source',
    calls: each('blob-get'),
    faults: (random, sizes, kind) => [cut(random, sizes, kind), { kind: 'vanish' }],
    codes: ['blob_unknown'],
  },
  {
    name: 'manifest disappears',
    side: 'source',
    calls: each('manifest-get'),
    faults: always(refuse(404, 'MANIFEST_UNKNOWN', 'manifest unknown')),
    codes: ['manifest_unknown'],
  },
  {
    name: 'flipped bit in the answer',
    side: 'source',
    calls: reads,
    faults: one(flip('answer')),
    codes: ['digest_mismatch'],
  },
  { name: 'reset in the answer', side: 'source', calls: reads, faults: one(cut), codes: ['reset'] },
  {
    name: 'truncated answer',
    side: 'source',
    calls: reads,
    faults: one(truncate('short')),
    codes: ['reset'],
  },
  {
    name: 'truncated answer of the right form',
    side: 'source',
    calls: reads,
    faults: one(truncate('consistent', 'chunked')),
    codes: ['digest_mismatch'],
  },
  {
    name: 'flipped bit in the request',
    side: 'target',
    calls: each('upload-patch'),
    faults: one(flip('request')),
    codes: ['digest_mismatch'],
  },
  {
    name: 'answer lost after the work was done',
    side: 'target',
    calls: each('upload-patch', 'upload-post'),
    faults: one((random) => ({ kind: 'reset', at: 'lost', hard: random.chance(0.5) })),
    codes: ['reset'],
  },
  {
    name: 'tag may not be changed',
    side: 'target',
    calls: each('tag-put'),
    faults: always(
      refuse(400, 'TAG_INVALID', "The tag '1' cannot be overwritten because the repository is immutable."),
    ),
    codes: ['immutable_tag'],
  },
  {
    name: 'push refused',
    side: 'target',
    calls: each('manifest-put', 'tag-put'),
    faults: always(refuse(400, 'MANIFEST_INVALID', 'manifest invalid')),
    codes: ['push_refused'],
  },
  {
    name: 'says it has stored, and has not',
    side: 'target',
    calls: stores,
    faults: always({ kind: 'forget', what: 'never-stored' }),
    codes: ['registry_unavailable', 'copy_failed', 'digest_mismatch'],
  },
  {
    name: 'stores and then forgets',
    side: 'target',
    calls: each('upload-put', 'manifest-put'),
    faults: always({ kind: 'forget', what: 'itself' }),
    codes: ['registry_unavailable', 'copy_failed'],
  },
  {
    name: 'disk full',
    side: 'target',
    calls: [['upload-post', 'upload-patch', 'upload-put', 'manifest-put', 'tag-put']],
    faults: always({ kind: 'full-disk' }),
    codes: ['registry_unavailable', 'registry_full'],
    everywhere: true,
  },
];

export const catalogue: readonly Entry[] = [
  ...passing,
  ...lasting.map((entry): Entry => ({ ...entry, lasting: true })),
];

/** The name of a row. */
export function titleOf({ name, lasting: stays }: Entry): string {
  return stays ? `${name}, for good` : name;
}
