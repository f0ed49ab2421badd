import type { VerifyLevel } from '../core/mirror.ts';
import type { Selection } from '../core/selection.ts';
import { asMirrorError, type Side } from '../core/errors.ts';
import type { Reference } from '../core/reference.ts';
import type { Keychain } from '../keychain/keychain.ts';
import type { Registry } from '../registry/registry.ts';
import type { Plan } from './plan.ts';
import { listReferrers, missingReferrers } from './referrers.ts';
import type { Place } from './place.ts';
import { signalUntil } from './retry.ts';
import { onSide } from './side.ts';
import { readTree } from './tree.ts';
import { holdsBlobs } from './verify.ts';

/** Whether a target that has the digest has all that is wanted of it. @throws MirrorError with its side. */
export type Presence = (
  plan: Plan,
  selection: Selection,
  keychain: Keychain,
  deadline: number,
) => Promise<boolean>;

/**
 * Reads the target's manifests, looks at its blobs, and compares what refers to them on both sides: what was signed after
 * it was mirrored is missing then.
 * @param level `full` is for copies; an answer does not wait for every byte.
 */
export function createPresence(registry: Registry, level: VerifyLevel): Presence {
  return async ({ source, target, digest }, { platforms, referrers }, keychain, deadline) => {
    const signal = signalUntil(deadline);
    const enter = async ({ registry: host, path }: Reference, side: Side): Promise<Place> => {
      const repository = { registry: host, path };
      const credential = await onSide(side, () => keychain.resolve(repository, signal));
      return { registry, repository, access: { credential, signal }, side };
    };
    const to = await enter(target, 'target');
    const checked = level === 'manifests' ? level : 'blobs';
    let subjects = [digest];
    try {
      const tree = await readTree(registry, target, digest, to.access, platforms);
      if (!tree) return false;
      if (!(await holdsBlobs(registry, target, tree, to.access, checked))) return false;
      subjects = [...tree.manifests.keys()];
    } catch (caught) {
      const error = asMirrorError(caught);
      if (error.code === 'manifest_unknown') return false;
      // What the image has not got is the source's to say; what we can't read counts as whole, since its digest is there.
      if (error.code !== 'unsupported_manifest')
        throw error.at(error.code === 'platform_unknown' ? 'source' : 'target');
    }
    if (referrers === 'none') return true;
    const from = await enter(source, 'source');
    const found = await listReferrers(from, subjects, referrers);
    return (await missingReferrers(from, to, found, checked)).length === 0;
  };
}
