import type { KeyObject } from 'node:crypto';
import type { Digest } from '../core/digest.ts';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import type { Arrival, VerifyLevel } from '../core/mirror.ts';
import { formatReference, formatRepository, parseReference, type Reference } from '../core/reference.ts';
import type { Selection } from '../core/selection.ts';
import type { Keychain } from '../keychain/keychain.ts';
import type { Registry } from '../registry/registry.ts';
import type { Statement } from '../wire/receipt.ts';
import type { Pacer } from './pacing.ts';
import { enter, type Place } from './place.ts';
import { checkReceipt } from './receipt.ts';
import { receiptsAt } from './receipt-find.ts';
import { type Found, listReferrers, missingReferrers } from './referrers.ts';
import { onSide } from './side.ts';
import type { Route } from './target.ts';
import { readTree, type Tree } from './tree.ts';
import { arrivalOf, deleteFirst, findFaults } from './verify.ts';

/** Of what is no good receipt, so many are told why. */
const badLimit = 5;

/** What a target was found to hold. */
export interface Inspection {
  target: Reference;
  /** What it should hold. */
  digest: Digest;
  /** `referrers`: all that the source has. */
  arrival: Omit<Arrival, 'moved' | 'untagged'>;
  /** Receipts of it that are good; absent: they were not asked for. */
  receipts?: Statement[];
  /** What is wrong, in sentences; none: it is as it should be. */
  faults: string[];
}

/** How receipts are checked. */
export interface Evidence {
  keys: KeyObject[];
  /** The receipt that must be good; absent: one of those at the target must be. */
  receipt?: unknown;
}

export interface InspectorOptions {
  registry: Registry;
  pacer: Pacer;
  keychain: Keychain;
  evidence?: Evidence | undefined;
}

/**
 * Looks at a target at any time, and changes nothing. The source is asked what the image is where it is not named by
 * its digest, and for what refers to it.
 * @throws MirrorError when a registry can't be read, or the target has no such image.
 */
export async function inspect(
  { source, target }: Route,
  selection: Selection,
  level: VerifyLevel,
  options: InspectorOptions,
  signal: AbortSignal,
): Promise<Inspection> {
  const { registry, keychain } = options;
  const to = await enter(options, keychain, target, 'target', signal);
  const from = await enter(options, keychain, source, 'source', signal);
  const digest =
    source.digest ?? (await onSide('source', () => registry.resolve(source, from.access)))?.digest;
  if (!digest) throw missing(source, 'source');
  const faults: string[] = [];
  const tree = await onSide('target', () => read(options, { ...target, digest }, selection, to.access));
  if (!tree) throw missing({ registry: target.registry, path: target.path, digest }, 'target');
  const { tag } = target;
  // With a digest in the reference the tag is an ornament.
  if (tag && !source.digest) {
    const tagged = { ...to.repository, tag };
    const held = (await onSide('target', () => registry.resolve(tagged, to.access)))?.digest;
    if (held !== digest)
      faults.push(`The tag ${tag} is ${held ?? 'not there'}; at the source it is ${digest}.`);
  }
  const wrong = {
    missing: 'is not there. Mirror it again.',
    size: `has another size. ${deleteFirst}`,
    bytes: `has other bytes. ${deleteFirst}`,
  };
  for (const { digest: blob, fault } of await onSide('target', () =>
    findFaults(registry, to.repository, tree, to.access, level),
  ))
    faults.push(`The blob ${blob} ${wrong[fault]}`);
  const found = await listReferrers(from, tree.manifests.keys(), selection.referrers);
  for (const { digest: referrer, subject, tag: under } of await lacking(from, to, found, level, faults))
    faults.push(
      `${under ?? referrer}, which refers to ${subject}, is not there as a whole, or not listed. Mirror it again.`,
    );
  const receipts = options.evidence && (await checkReceipts(to, digest, options.evidence, faults));
  return {
    // With a digest in the reference the tag was not looked at.
    ...{ target: source.digest ? { ...to.repository, digest } : target, digest, faults },
    ...(receipts && { receipts }),
    arrival: arrivalOf(tree, found, level),
  };
}

/** @param faults gets a sentence for what should be good and is not. */
async function checkReceipts(
  place: Place,
  digest: Digest,
  { keys, receipt }: Evidence,
  faults: string[],
): Promise<Statement[]> {
  const left = receipt === undefined;
  const given = left ? receiptsAt(place, digest) : [receipt];
  const here = formatRepository(place.repository);
  const good: Statement[] = [];
  const bad: string[] = [];
  for await (const each of given) {
    try {
      const stated = checkReceipt(each, keys, digest);
      const { reference } = stated.predicate.target;
      if (formatRepository(parseReference(reference)) === here) good.push(stated);
      // One that came along with the image, from where it had been mirrored to before, is of that place.
      else if (!left) bad.push(`It is a receipt of ${reference}, not of ${here}.`);
    } catch (error) {
      bad.push(asMirrorError(error).message);
    }
  }
  if (good.length > 0) return good;
  faults.push(
    bad.length === 0
      ? 'There is no receipt of it at the target.'
      : `No receipt of it is good: ${bad.slice(0, badLimit).join(' ')}`,
  );
  return good;
}

/** One whose bytes are others is a fault too, which is told by itself. */
async function lacking(
  from: Place,
  to: Place,
  found: readonly Found[],
  level: VerifyLevel,
  faults: string[],
): Promise<Found[]> {
  try {
    return await missingReferrers(from, to, found, level);
  } catch (caught) {
    const error = asMirrorError(caught);
    if (error.code !== 'digest_mismatch') throw error;
    faults.push(error.message);
    return [];
  }
}

async function read(
  { registry }: InspectorOptions,
  { registry: host, path, digest }: Reference & { digest: Digest },
  { platforms }: Selection,
  access: Parameters<typeof readTree>[3],
): Promise<Tree | undefined> {
  try {
    return await readTree(registry, { registry: host, path }, digest, access, platforms);
  } catch (caught) {
    const error = asMirrorError(caught);
    // Nothing passes by itself here: it is what a look finds.
    throw error.code === 'digest_mismatch' ? error.with({ retryable: false }) : error;
  }
}

function missing(reference: Reference, side: 'source' | 'target'): MirrorError {
  return new MirrorError(
    'manifest_unknown',
    `${formatReference(reference)} does not exist at its registry.`,
    {
      side,
    },
  );
}
