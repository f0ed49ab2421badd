import type { VerifyLevel } from '../core/mirror.ts';
import type { Selection } from '../core/selection.ts';
import { asMirrorError } from '../core/errors.ts';
import type { Keychain } from '../keychain/keychain.ts';
import type { Registry } from '../registry/registry.ts';
import { locate } from './place.ts';
import type { Plan } from './plan.ts';
import { listReferrers, missingReferrers } from './referrers.ts';
import { signalUntil } from './retry.ts';
import { readTree } from './tree.ts';
import { holdsBlobs } from './verify.ts';

/** What of that which is wanted a target has: all; the image, but not all that refers to it; or less. */
export type Held = 'all' | 'image' | 'less';

/**
 * What a target that has the digest holds.
 * @param dryRun whatever the answer, nothing is started. Else half of the time is kept for that, and what can't be seen
 *   in the other half is `less`: a mirror has more time for the same looks.
 * @throws MirrorError with its side.
 */
export type Presence = (
  plan: Plan,
  selection: Selection,
  keychain: Keychain,
  deadline: number,
  dryRun: boolean,
) => Promise<Held>;

/**
 * Reads the target's manifests, looks at its blobs, and compares what refers to them on both sides: what was signed after
 * it was mirrored is missing then.
 * @param level `full` is for copies; an answer does not wait for every byte.
 */
export function createPresence(registry: Registry, level: VerifyLevel): Presence {
  const checked = level === 'manifests' ? level : 'blobs';

  async function look(
    { source, target, digest }: Plan,
    { platforms, referrers }: Selection,
    keychain: Keychain,
    signal: AbortSignal,
  ): Promise<Held> {
    const to = await locate(registry, keychain, target, 'target', signal);
    let subjects = [digest];
    try {
      const tree = await readTree(registry, target, digest, to.access, platforms);
      if (!tree || !(await holdsBlobs(registry, target, tree, to.access, checked))) return 'less';
      subjects = [...tree.manifests.keys()];
    } catch (caught) {
      const error = asMirrorError(caught);
      if (error.code === 'manifest_unknown') return 'less';
      // What the image has not got is the source's to say; what we can't read counts as whole, since its digest is there.
      if (error.code !== 'unsupported_manifest')
        throw error.at(error.code === 'platform_unknown' ? 'source' : 'target');
    }
    if (referrers === 'none') return 'all';
    const from = await locate(registry, keychain, source, 'source', signal);
    const found = await listReferrers(from, subjects, referrers);
    return (await missingReferrers(from, to, found, checked)).length === 0 ? 'all' : 'image';
  }

  return async (plan, selection, keychain, deadline, dryRun) => {
    const signal = signalUntil(dryRun ? deadline : (performance.now() + deadline) / 2);
    try {
      return await look(plan, selection, keychain, signal);
    } catch (caught) {
      if (!dryRun && signal.aborted && asMirrorError(caught).code === 'timeout') return 'less';
      throw caught;
    }
  };
}
