import type { KeyObject } from 'node:crypto';
import { formatBytes } from '../core/bytes.ts';
import type { Digest } from '../core/digest.ts';
import { MirrorError, type MirrorErrorOptions } from '../core/errors.ts';
import type { Mirror } from '../core/mirror.ts';
import { globMatches, imageMatches, type ImagePattern, parseImagePattern } from '../core/pattern.ts';
import { formatReference, formatRepository, type Reference } from '../core/reference.ts';
import type { Selection } from '../core/selection.ts';
import type { Keychain } from '../keychain/keychain.ts';
import { createMemo } from '../lib/memo.ts';
import type { Access, Registry } from '../registry/registry.ts';
import type { PolicyRule } from '../settings.ts';
import { createMeasure } from './measure.ts';
import type { Plan } from './plan.ts';
import { signalUntil } from './retry.ts';
import { onSide } from './side.ts';
import { isSignedBy } from './signature.ts';
import type { Route } from './target.ts';

/** A rule of dray.yaml, with the public keys that its `signedBy` names. */
export interface Rule extends PolicyRule {
  keys?: KeyObject[] | undefined;
}

/** What a rule says of a request in its scope. */
export interface Verdict {
  rule: string;
  passed: boolean;
  /** In a sentence for people. */
  why: string;
  /** What the request is refused with. */
  refusal?: MirrorError;
}

/** What is to be judged: the digest decided on, and what of it is wanted. */
export interface Matter {
  tenant: string;
  plan: Plan;
  selection: Selection;
}

export interface Policy {
  /** The same for tenants under the same rules: only those may share a decision. */
  groupOf(tenant: string): string;
  /** Judges what can be told from names alone. */
  judgeNames(route: Route, tenant: string): Verdict[];
  /**
   * Judges everything, one verdict for each rule in scope. Reads from the source what those rules need to know, and nothing
   * where none does: reading costs quota.
   * @param deadline performance.now().
   * @throws MirrorError on the source's side when it can't be read.
   */
  judge(matter: Matter, keychain: Keychain, deadline: number): Promise<Verdict[]>;
  /** @throws MirrorError `immutable_tag` when a rule keeps the target's tag at the digest that it holds. */
  checkMove(mirror: Pick<Mirror, 'tenant' | 'source' | 'target' | 'digest'>, held: Digest): void;
}

/** @throws the refusal of the first verdict that has one. */
export function enforce(verdicts: readonly Verdict[]): void {
  for (const { refusal } of verdicts) if (refusal) throw refusal;
}

/** What one demand of a rule finds. */
interface Finding {
  why: string;
  refused?: MirrorErrorOptions & { code?: 'policy_denied' | 'immutable_tag' };
}

interface Compiled extends Omit<Rule, 'sources' | 'targets' | 'allowSources' | 'allowTargets'> {
  sources?: ImagePattern[] | undefined;
  targets?: ImagePattern[] | undefined;
  allowSources?: ImagePattern[] | undefined;
  allowTargets?: ImagePattern[] | undefined;
}

/** Milliseconds for which a signature that was seen is taken to be there, and how many are kept. */
const trusted = 60_000;
const cacheLimit = 10_000;
const day = 86_400_000;

export function createPolicy(rules: readonly Rule[], registry: Registry): Policy {
  const compiled = rules.map(compile);
  const measure = createMeasure(registry);
  const signed = createMemo<boolean>(cacheLimit);

  async function judgeContent(rule: Compiled, matter: Matter, access: Access): Promise<Finding[]> {
    const { name, maxSize, minAge, keys } = rule;
    const { plan, selection } = matter;
    const findings: Finding[] = [];
    if (maxSize !== undefined)
      findings.push(judgeSize(maxSize, await measure.size(plan.source, plan.digest, selection, access)));
    if (minAge !== undefined)
      findings.push(judgeAge(minAge, await measure.created(plan.source, plan.digest, selection, access)));
    if (keys) {
      // Others may ask for the same digest of a repository where nobody has signed it.
      const key = [name, formatRepository(plan.source), plan.digest].join('\n');
      const found = await signed.get(key, trusted, () =>
        isSignedBy(keys, registry, plan.source, plan.digest, access),
      );
      // Who hears of it goes and signs.
      if (!found) signed.drop(key);
      findings.push(judgeSignature(found, rule));
    }
    return findings;
  }

  return {
    groupOf: (tenant) =>
      compiled.flatMap((rule, index) => (rule.tenants && isOf(rule, tenant) ? [index] : [])).join(),

    judgeNames: (route, tenant) =>
      compiled.flatMap((rule) =>
        covers(rule, route, tenant) ? (verdictOf(rule, route, judgeNames(rule, route)) ?? []) : [],
      ),

    async judge(matter, keychain, deadline) {
      const { plan, tenant } = matter;
      const enter = async (): Promise<Access> => {
        const signal = signalUntil(deadline);
        return { credential: await keychain.resolve(plan.source, signal), signal };
      };
      const verdicts: Verdict[] = [];
      for (const rule of compiled) {
        const findings: Finding[] = [];
        if (covers(rule, plan, tenant)) findings.push(...judgeNames(rule, plan), ...judgeTag(rule, plan));
        const reads = rule.maxSize !== undefined || rule.minAge !== undefined || rule.keys !== undefined;
        // A digest may be what any tag names: leaving the tag out must not lead round a demand on what is copied.
        if (reads && covers(rule, plan, tenant, plan.source.digest !== undefined))
          findings.push(...(await onSide('source', async () => judgeContent(rule, matter, await enter()))));
        const verdict = verdictOf(rule, plan, findings);
        if (verdict) verdicts.push(verdict);
      }
      return verdicts;
    },

    checkMove({ tenant, source, target, digest }, held) {
      const move = { source, target, digest, held, setsTag: true };
      for (const rule of compiled)
        if (covers(rule, move, tenant)) enforce([verdictOf(rule, move, judgeTag(rule, move)) ?? []].flat());
    },
  };
}

function compile(rule: Rule): Compiled {
  const read = (patterns: readonly string[] | undefined) =>
    patterns?.map((text) => {
      const pattern = parseImagePattern(text);
      if (typeof pattern === 'string') throw new Error(`The pattern ${text} ${pattern}.`);
      return pattern;
    });
  return {
    ...rule,
    sources: read(rule.sources),
    targets: read(rule.targets),
    allowSources: read(rule.allowSources),
    allowTargets: read(rule.allowTargets),
  };
}

/** Tenants have no parts that a star would have to stop at: `*` is any characters. */
function isOf({ tenants }: Compiled, tenant: string): boolean {
  return tenants?.some((glob) => globMatches(glob.replace(/\*+/g, '**'), tenant)) ?? true;
}

function fits(patterns: readonly ImagePattern[], reference: Reference, anyTag = false): boolean {
  return patterns.some((pattern) => imageMatches(pattern, reference, anyTag));
}

function covers(rule: Compiled, { source, target }: Route, tenant: string, anyTag = false): boolean {
  const { sources, targets } = rule;
  return (
    isOf(rule, tenant) &&
    (!sources || fits(sources, source, anyTag)) &&
    (!targets || fits(targets, target, anyTag))
  );
}

function judgeNames(rule: Compiled, { source, target }: Route): Finding[] {
  const findings: Finding[] = [];
  if (rule.deny)
    findings.push({
      why: 'it refuses that',
      refused: { side: rule.targets && !rule.sources ? 'target' : 'source' },
    });
  for (const [side, reference, allowed] of [
    ['source', source, rule.allowSources],
    ['target', target, rule.allowTargets],
  ] as const) {
    if (!allowed) continue;
    if (fits(allowed, reference)) findings.push({ why: `the ${side} is allowed` });
    else
      findings.push({
        why: `${formatReference(reference)} is none of the ${side}s that it allows`,
        refused: { side },
      });
  }
  return findings;
}

function judgeTag(
  { immutable }: Compiled,
  { target, digest, held, setsTag }: Pick<Plan, 'target' | 'digest' | 'held' | 'setsTag'>,
): Finding[] {
  if (!immutable || target.tag === undefined) return [];
  if (!setsTag || held === undefined || held === digest) return [{ why: 'no tag is moved' }];
  const why = `${formatReference({ ...target, digest: held })} is there, and may not be moved to ${digest}`;
  return [{ why, refused: { side: 'target', code: 'immutable_tag' } }];
}

function judgeSize(limit: number, size: number): Finding {
  const [has, may] = [formatBytes(size), formatBytes(limit)];
  if (size <= limit) return { why: `it has ${has} of at most ${may}` };
  const found = `it has ${has === may ? `${size} B` : has}, and at most ${has === may ? `${limit} B` : may} are allowed`;
  const remedy = `Ask for fewer platforms or a smaller image, or ${orElse}`;
  return { why: found, refused: { side: 'source', remedy } };
}

function judgeAge(days: number, created: Date | undefined): Finding {
  if (!created)
    return {
      why: `it does not say when it was made, and must be ${days} days old`,
      refused: { side: 'source', remedy: `Have it built with its date, or ${orElse}` },
    };
  const ripe = new Date(created.getTime() + days * day);
  const why = `it was made at ${created.toISOString()} and must be ${days} days old`;
  if (ripe.getTime() <= Date.now()) return { why };
  const remedy = `Ask again after ${ripe.toISOString()}, ask for an older one, or ${orElse}`;
  return { why, refused: { side: 'source', remedy } };
}

function judgeSignature(found: boolean, { signedBy = [] }: Compiled): Finding {
  const keys = signedBy.map((file) => file.replace(/^.*\//, '')).join(', ');
  if (found) return { why: `a key of ${keys} has signed it` };
  const remedy = `Have it signed with cosign by the owner of one of the keys (${keys}) at its source, or ${orElse}`;
  return { why: `no signature of it by a key of ${keys} was found`, refused: { side: 'source', remedy } };
}

const orElse = 'have an administrator change the rule under `policy` in dray.yaml.';

/** Undefined when the rule, though in scope, has nothing to say of it. */
function verdictOf(
  { name: rule }: Compiled,
  { source, target }: Route,
  findings: Finding[],
): Verdict | undefined {
  const refused = findings.find((finding) => finding.refused);
  if (!refused?.refused)
    return findings.length === 0
      ? undefined
      : { rule, passed: true, why: findings.map(({ why }) => why).join('; ') };
  const { code = 'policy_denied', ...options } = refused.refused;
  const message = `The rule ${JSON.stringify(rule)} does not let ${formatReference(source)} go to ${formatReference(target)}: ${refused.why}.`;
  return { rule, passed: false, why: refused.why, refusal: new MirrorError(code, message, options) };
}
