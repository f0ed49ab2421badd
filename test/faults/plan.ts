import type { CallKind, Side } from './calls.ts';
import { catalogue, type Entry, titleOf } from './catalogue.ts';
import { describeRule, type Rule } from './fault.ts';
import type { Trigger } from './proxy.ts';
import { createRandom, type Random } from './random.ts';
import type { TokenOptions } from './tokens.ts';

export interface LayerPlan {
  seed: number;
  size: number;
}

export interface ImagePlan {
  /** The same at source and target. */
  repository: string;
  tag: string;
  /** One list of layers a platform; a single one is no index. */
  platforms: LayerPlan[][];
  /** How it is asked for. */
  by: 'tag' | 'digest' | 'both';
  /** How many ask for it at the same time. */
  callers: number;
}

export interface FaultPlan {
  entry: Entry;
  /** The images that it may fail; all, if it is about none. */
  images: number[];
  rules: Rule[];
}

export interface KillPlan extends Omit<Trigger, 'run'> {
  what: 'service' | 'skopeo';
  side: Side;
}

/** One run: all of it comes from its seed. */
export interface Plan {
  seed: number;
  images: ImagePlan[];
  faults: FaultPlan[];
  kills: KillPlan[];
  /** Registries that ask for a login, and how long their tokens live. */
  logins: Partial<Record<Side, TokenOptions>>;
  /** What the target loses of its first image when all have arrived: it is asked for once more then. */
  loss?: 'blob' | 'manifest' | 'tag';
}

export interface PlanOptions {
  /** What the service can be told; faults that need more are left out. */
  can: (setting: 'stallLimit') => boolean;
  /** Leaves out what takes long. */
  quick?: boolean;
}

/** Tries that faults and kills may cost together, of the five that a mirror has. */
const affordable = 4;

/** Where a kill is worth while. */
const killPoints: Record<KillPlan['what'], [Side, CallKind, Trigger['moment'][]][]> = {
  service: [
    ['source', 'manifest-head', ['arrival', 'answered']],
    ['source', 'manifest-get', ['arrival', 'answered']],
    ['source', 'blob-get', ['arrival', 'middle', 'answered']],
    ['target', 'manifest-head', ['arrival', 'answered']],
    ['target', 'manifest-get', ['arrival', 'answered']],
    ['target', 'upload-post', ['arrival', 'answered']],
    ['target', 'upload-patch', ['arrival', 'answered']],
    ['target', 'upload-put', ['arrival', 'answered']],
    ['target', 'manifest-put', ['arrival', 'answered']],
    ['target', 'tag-put', ['arrival', 'answered']],
  ],
  skopeo: [
    ['source', 'blob-get', ['arrival', 'middle', 'answered']],
    ['target', 'blob-head', ['arrival', 'answered']],
    ['target', 'upload-patch', ['arrival', 'answered']],
    ['target', 'upload-put', ['arrival', 'answered']],
    ['target', 'manifest-put', ['arrival', 'answered']],
  ],
};

/** The same plan for the same seed. Neighbouring seeds go through the catalogue, so that a range of them has it all. */
export function makePlan(seed: number, { can, quick = false }: PlanOptions): Plan {
  const random = createRandom(seed);
  const usable = catalogue.filter(({ needs }) => needs === undefined || can(needs));
  const images = Array.from({ length: random.pick([1, 1, 2, 2, 3, 4]) }, (_, n) =>
    makeImage(random, seed, n, quick),
  );
  const plan: Plan = { seed, images, faults: [], kills: [], logins: {} };
  for (const side of ['source', 'target'] as const)
    if (random.chance(0.4)) plan.logins[side] = { uses: Infinity, ms: Infinity };

  let left = affordable;
  const first = usable[seed % usable.length] as Entry;
  const others = Array.from({ length: random.pick([0, 0, 1, 1, 2, 3]) }, () => random.pick(usable));
  for (const entry of [first, ...others]) {
    const { cost = 1, lasting } = entry;
    if ((lasting ? 0 : cost) > left || clashes(entry, plan)) continue;
    const times = lasting ? Infinity : cost === 1 ? random.between(1, Math.min(2, left)) : 1;
    plan.faults.push(makeFault(random, entry, plan, cost === 0 ? random.between(1, 4) : times));
    if (!lasting) left -= cost === 1 ? times : cost;
  }
  for (const [what, probability] of [
    ['service', 0.35],
    ['skopeo', 0.3],
    ['service', 0.1],
  ] as const) {
    if (left < 1 || !random.chance(probability)) continue;
    left--;
    const [side, kind, moments] = random.pick(killPoints[what]);
    plan.kills.push({ what, side, kinds: [kind], skip: random.between(0, 2), moment: random.pick(moments) });
  }
  if (random.chance(0.3)) plan.loss = random.pick(['blob', 'manifest', 'tag']);
  return plan;
}

/** A registry has one kind of token; and one that is restarted with a full disk does not come back. */
function clashes(entry: Entry, { faults }: Plan): boolean {
  const same = faults.filter((fault) => fault.entry.side === entry.side).map((fault) => fault.entry);
  if (entry.tokens) return same.some(({ tokens }) => tokens !== undefined);
  const restarts = /restarts/;
  const fills = /^disk full/;
  return same.some(
    ({ name }) =>
      (restarts.test(entry.name) && fills.test(name)) ||
      (fills.test(entry.name) && (restarts.test(name) || fills.test(name))),
  );
}

function makeFault(random: Random, entry: Entry, plan: Plan, times: number): FaultPlan {
  const { side, calls, lasting, everywhere, tokens } = entry;
  const all = plan.images.map((_, n) => n);
  if (tokens) {
    const uses =
      tokens === 'at once' ? 0 : Math.max(...plan.images.map((image) => usesOf(random, image, side)));
    plan.logins[side] = { uses, ms: Infinity };
    return { entry, images: all, rules: [] };
  }
  const n = random.between(0, all.length - 1);
  const image = plan.images[n] as ImagePlan;
  const kinds = random.pick(calls);
  // They name no repository that would tell one image from another.
  const shared = everywhere === true || kinds.some((kind) => kind === 'ping' || kind === 'token');
  if (kinds.includes('token')) plan.logins[side] ??= { uses: Infinity, ms: Infinity };
  const sizes = {
    layer: Math.min(...image.platforms.flat().map(({ size }) => size)),
    // A manifest of one layer has about as much.
    manifest: 450,
  };
  const faults = entry.faults(random, sizes, kinds[0] as CallKind);
  const skip = random.pick(lasting ? [0, 0, 0, 1] : [0, 0, 1, 2]);
  const rules = faults.map((fault, at): Rule => ({
    kinds,
    ...(!shared && { repository: image.repository }),
    skip: at === 0 ? skip : 0,
    times: lasting && at < faults.length - 1 ? 1 : times,
    fault,
  }));
  // Whom a registry tells to wait is told so for all who come with the same login.
  const reaches = shared || entry.codes.includes('rate_limited');
  return { entry, images: reaches ? all : [n], rules };
}

/**
 * For how many calls a token must be good so that two or three copies, each with one token, get through: all that each of
 * them does anew, and about half of what only the first does.
 */
function usesOf(random: Random, { platforms }: ImagePlan, side: Side): number {
  const layers = platforms.flat().length;
  const blobs = new Set(platforms.flat().map(({ seed }) => seed)).size;
  const configs = platforms.length;
  const manifests = configs === 1 ? 1 : configs + 1;
  const atMost = Math.max(...platforms.map(({ length }) => length));
  // A blob that is there costs a HEAD, one that is not four calls more; the layers of one manifest go side by side.
  const [again, once, least] =
    side === 'source'
      ? [manifests + configs, blobs, Math.ceil(blobs / 2)]
      : [manifests + configs + layers, 4 * (blobs + configs), Math.max(4 * atMost, 2 * (blobs + configs))];
  return again + random.between(least, Math.max(least, once - 1));
}

function makeImage(random: Random, seed: number, n: number, quick: boolean): ImagePlan {
  let layers = 0;
  const size = () => {
    const most = random.pick(quick ? [5_000, 60_000] : [5_000, 60_000, 60_000, 400_000, 8_000_000]);
    return random.between(2_000, most);
  };
  const layer = (): LayerPlan => ({ seed: seed * 100 + n * 20 + ++layers, size: size() });
  const shared = layer();
  const platforms = Array.from({ length: random.pick([1, 1, 2, 3]) }, () => [
    shared,
    ...Array.from({ length: random.between(0, 2) }, layer),
  ]);
  return {
    repository: `r${seed}/i${n}`,
    tag: random.pick(['1', 'latest', 'v2.0_a']),
    platforms,
    by: random.pick(['tag', 'tag', 'both', 'digest']),
    callers: random.pick([1, 1, 2, 4]),
  };
}

/** The plan as lines that can be read. */
export function describePlan({ seed, images, faults, kills, logins, loss }: Plan): string[] {
  return [
    `seed ${seed}`,
    ...images.map(
      ({ repository, tag, platforms, by, callers }) =>
        `  image ${repository}:${tag} by ${by}, ${platforms.length} platform(s), layers of ${platforms
          .flat()
          .map(({ size }) => size)
          .join('+')} bytes, ${callers} caller(s)`,
    ),
    ...Object.entries(logins).map(
      ([side, { uses }]) =>
        `  login at ${side}${uses === Infinity ? '' : `, tokens good for ${uses} call(s)`}`,
    ),
    ...faults.flatMap(({ entry, rules }) => [
      `  fault at ${entry.side}: ${titleOf(entry)}`,
      ...rules.map((rule) => `    ${describeRule(rule)}`),
    ]),
    ...kills.map(
      ({ what, side, kinds, skip, moment }) =>
        `  kill -9 of ${what}: ${moment} of ${kinds.join('|')} number ${skip + 1} at ${side}`,
    ),
    ...(loss ? [`  in the end the target loses a ${loss} of image 0`] : []),
  ];
}
