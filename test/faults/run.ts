import { manifestOf, indexOf, eightPlatforms, noiseLayer, push, type Pushed } from '../fixtures/image.ts';
import type { CallKind, Side } from './calls.ts';
import { type Entry, titleOf } from './catalogue.ts';
import { type Outcome, request, type Wait } from './client.ts';
import { type Allowed, checkArrival, checkFailure, checkLeftovers, checkTags, treeOf } from './invariants.ts';
import { damage } from './loss.ts';
import type { ImagePlan, Plan } from './plan.ts';
import { type ActiveRule, type FaultProxy, startFaultProxy } from './proxy.ts';
import type { FaultWorld } from './world.ts';

/** What a run has shown. */
export interface RunResult {
  plan: Plan;
  /** What did not hold; empty if all is well. */
  complaints: string[];
  /** Every request of the first round, with the images' numbers. */
  outcomes: { image: number; outcome: Outcome }[];
  /** Of each fault of the plan: how many calls it has met. */
  met: number[];
  kills: { service: number; skopeo: number };
  /** Mirrors that were seen to wait for a rate limit. */
  waits: Wait[];
  /** What happened, for whoever has to find out why. */
  trace: string[];
  ms: number;
}

/** Goes through one plan: pushes its images, shows its faults, and checks what must hold. */
export async function runPlan(world: FaultWorld, plan: Plan): Promise<RunResult> {
  const started = performance.now();
  const complaints: string[] = [];
  const kills = { service: 0, skopeo: 0 };
  const waits: Wait[] = [];
  const { source: sourceLogin, target: targetLogin } = plan.logins;
  const proxies = {
    source: await startFaultProxy({
      side: 'source',
      upstream: world.source,
      ...(sourceLogin && { tokens: sourceLogin }),
    }),
    target: await startFaultProxy({
      side: 'target',
      upstream: world.targetUpstream,
      ...(targetLogin && { tokens: targetLogin }),
    }),
  };
  const both = [proxies.source, proxies.target];
  try {
    await world.logIn(
      both.flatMap(({ host, login }) =>
        login ? [{ host, username: login.username, password: login.password }] : [],
      ),
    );
    const images: Awaited<ReturnType<typeof pushImage>>[] = [];
    for (const image of plan.images) images.push(await pushImage(world, image));
    const active = plan.faults.map(({ entry, rules }) => rules.map((rule) => proxies[entry.side].add(rule)));
    for (const kill of plan.kills)
      proxies[kill.side].on({
        ...kill,
        async run({ repository }) {
          if (kill.what === 'service') {
            kills.service++;
            complaints.push(...(await world.killService()));
          } else if (repository !== undefined) kills.skopeo += world.killSkopeo(repository);
        },
      });

    /** One request for an image, whose every "it is there" is checked at that moment. */
    const ask = (n: number): Promise<Outcome> => {
      const { image, pushed } = images[n] as (typeof images)[0];
      return request(
        world,
        { image: `${proxies.source.host}/${nameOf(image, pushed)}`, to: proxies.target.host },
        {
          present: async () => void complaints.push(...(await checkImage(world, image, pushed))),
          waits: (wait) => void waits.push(wait),
        },
      );
    };
    const asked = plan.images.flatMap((image, n) =>
      Array.from({ length: image.callers }, async () => ({ image: n, outcome: await ask(n) })),
    );
    const outcomes = await Promise.all(asked);
    await world.service();
    const met = active.map((rules, n) =>
      metBy(rules, proxies[plan.faults[n]?.entry.side ?? 'source'], plan, n),
    );
    for (const { image, outcome } of outcomes) complaints.push(...judge(plan, image, outcome));
    complaints.push(
      ...checkWaits(plan, waits, met, { source: proxies.source.host, target: proxies.target.host }),
    );
    if (plan.kills.length === 0) complaints.push(...checkTries(plan, outcomes));
    complaints.push(...checkLeftovers(world.dataDir));

    // When the faults are over, whatever was left behind must not keep anything from arriving.
    await Promise.all(both.map((proxy) => proxy.mend()));
    const isOurs = (repository: string) => repository.startsWith(`r${plan.seed}/`);
    complaints.push(...(await checkTags(world.target.url, isOurs)));
    if (!isPaused(plan)) {
      const later = await Promise.all(plan.images.map((_, n) => ask(n)));
      for (const [n, outcome] of later.entries())
        if (outcome.end !== 'done')
          complaints.push(`When all faults are over, image ${n} does not arrive: ${tell(outcome)}.`);
      if (plan.loss && later[0]?.end === 'done')
        complaints.push(...(await lose(world, images[0], plan.loss, ask)));
      complaints.push(...checkLeftovers(world.dataDir), ...(await checkTags(world.target.url, isOurs)));
    }
    const trace = [...proxies.source.log, ...proxies.target.log].sort((a, b) => parseInt(a) - parseInt(b));
    return {
      plan,
      complaints: [...new Set(complaints)],
      outcomes,
      met,
      kills,
      waits,
      trace: [...trace, ...outcomes.map(({ image, outcome }) => `image ${image}: ${tell(outcome)}`)],
      ms: performance.now() - started,
    };
  } finally {
    await Promise.all(both.map((proxy) => proxy.stop()));
  }
}

/** Tokens are no rule: what they have met are calls with one that had ended. */
function metBy(rules: ActiveRule[], { login }: FaultProxy, plan: Plan, n: number): number {
  if (plan.faults[n]?.entry.tokens) return login?.expired() ?? 0;
  return rules.reduce((sum, { hits }) => sum + hits, 0);
}

/** A registry that has asked for a quarter of an hour of silence gets it. */
function isPaused({ faults }: Plan): boolean {
  return faults.some(({ entry }) => entry.lasting && entry.codes.includes('rate_limited'));
}

/** What a request for an image may come to. */
function judge(plan: Plan, n: number, outcome: Outcome): string[] {
  const what = `image ${n}`;
  if (outcome.end === 'unheard') return [`Of ${what} nothing was heard: ${outcome.what}.`];
  if (outcome.end === 'done') return [];
  const onIt = plan.faults.filter(({ images }) => images.includes(n));
  // Faults that pass excuse nothing; beside one that stays, the last try may have met either.
  const excused = onIt.some(({ entry }) => entry.lasting);
  const allowed: Allowed[] = excused
    ? onIt.flatMap(({ entry }) => entry.codes.flatMap((code) => blame(entry, code)))
    : [];
  // A submit's looks at both sides share its time: what keeps one may leave none for the other.
  if (excused && outcome.end === 'refused' && outcome.status === 503)
    allowed.push({ code: 'timeout', side: 'source' }, { code: 'timeout', side: 'target' });
  for (const { entry } of onIt)
    for (const code of entry.final ?? []) allowed.push({ code, side: entry.side });
  return checkFailure(
    `${what} (${outcome.end === 'refused' ? `submit: ${outcome.status}` : `${outcome.attempts} tries`})`,
    outcome.failure,
    allowed,
  );
}

/** While blobs move, nobody sees from outside for which side Skopeo stands still. */
function blame({ side, needs }: Entry, code: string): Allowed[] {
  return [{ code, side }, ...(needs === 'stallLimit' && code === 'timeout' ? [{ code }] : [])];
}

/** Calls that only a copy makes: who is told there to wait has a mirror that can be looked at. */
const ofCopies = new Set<CallKind>([
  'blob-get',
  'upload-post',
  'upload-patch',
  'upload-put',
  'manifest-put',
  'tag-put',
]);

/** Who waits is queued, and is told until when and, where a registry asked for it, for which one. */
function checkWaits(
  { faults, kills }: Plan,
  waits: Wait[],
  met: number[],
  hosts: Record<Side, string>,
): string[] {
  const complaints = waits.flatMap(({ state, until, host }) => {
    if (state !== 'queued') return [`A mirror has something to wait for and is ${state}.`];
    if (!(Date.parse(until ?? '') > 0)) return ['A mirror waits, and it is not said until when.'];
    if (host === undefined) return [];
    const throttles = faults.some(({ entry }) => hosts[entry.side] === host && entry.name === '429');
    return throttles ? [] : [`A mirror waits for ${host}, which has not asked for it.`];
  });
  const unseen = faults.filter(
    ({ entry, rules }, n) =>
      entry.name === '429' &&
      !entry.lasting &&
      (met[n] ?? 0) > 0 &&
      kills.length === 0 &&
      rules.every(({ kinds }) => kinds.every((kind) => ofCopies.has(kind))) &&
      !waits.some(({ host }) => host === hosts[entry.side]),
  );
  return [
    ...complaints,
    ...unseen.map(({ entry }) => `The ${entry.side} has said 429, and no mirror was seen to wait for it.`),
  ];
}

/** Faults that cost no try: a mirror that meets no other arrives with its first. */
function checkTries({ faults }: Plan, outcomes: RunResult['outcomes']): string[] {
  if (!faults.every(({ entry }) => !entry.lasting && (entry.name === '429' || entry.cost === 0))) return [];
  return outcomes.flatMap(({ image, outcome }) =>
    outcome.end === 'done' && outcome.attempts > 1
      ? [`Image ${image} has used ${outcome.attempts} tries, though nothing but 429 was in its way.`]
      : [],
  );
}

/** What the target has lost it gets again, and until then it is not said to be there. */
async function lose(
  world: FaultWorld,
  of: Awaited<ReturnType<typeof pushImage>> | undefined,
  what: NonNullable<Plan['loss']>,
  ask: (n: number) => Promise<Outcome>,
): Promise<string[]> {
  if (!of) return [];
  await damage(world.target.host, of.image.repository, of.pushed.digest, what);
  const outcome = await ask(0);
  return outcome.end === 'done'
    ? []
    : [`When the target has lost a ${what}, image 0 does not arrive again: ${tell(outcome)}.`];
}

async function pushImage(world: FaultWorld, image: ImagePlan): Promise<{ image: ImagePlan; pushed: Pushed }> {
  const made = new Map<number, ReturnType<typeof noiseLayer>>();
  const manifests = image.platforms.map((layers, n) => {
    const contents = layers.map(({ seed, size }) => {
      const layer = made.get(seed) ?? noiseLayer(seed, size);
      made.set(seed, layer);
      return layer;
    });
    const platform = eightPlatforms[n];
    return manifestOf(contents, platform ? { platform } : {});
  });
  const [first] = manifests;
  const root = manifests.length === 1 && first ? first : indexOf(manifests);
  return { image, pushed: await push(world.source.url, image.repository, image.tag, root) };
}

function nameOf({ repository, tag, by }: ImagePlan, { digest }: Pushed): string {
  return `${repository}${by === 'digest' ? '' : `:${tag}`}${by === 'tag' ? '' : `@${digest}`}`;
}

async function checkImage(world: FaultWorld, image: ImagePlan, pushed: Pushed): Promise<string[]> {
  const references = [pushed.digest, ...(image.by === 'digest' ? [] : [image.tag])];
  const checks = references.map((reference) =>
    checkArrival(world.target.url, image.repository, reference, treeOf(pushed)),
  );
  return (await Promise.all(checks)).flat();
}

export function tell(outcome: Outcome): string {
  switch (outcome.end) {
    case 'done':
      return outcome.answer.cached ? 'was there' : 'done';
    case 'unheard':
      return outcome.what;
    case 'refused':
      return `refused with ${outcome.status}: ${outcome.failure.code} at ${outcome.failure.side ?? 'no side'} (${outcome.failure.message ?? ''})`;
    case 'failed':
      return `failed with ${outcome.failure?.code ?? 'nothing'} at ${outcome.failure?.side ?? 'no side'} after ${outcome.attempts} tries (${outcome.failure?.message ?? ''})`;
  }
}

/** The names of a plan's faults, for the table. */
export function rowsOf(plan: Plan): { title: string; side: string }[] {
  return plan.faults.map(({ entry }) => ({ title: titleOf(entry), side: entry.side }));
}
