import { MirrorError } from '../core/errors.ts';
import { run } from '../lib/spawn.ts';

/** The oldest release that Dray is tested with: Debian 12's. */
const oldest = [1, 9] as const;

/**
 * Asks Skopeo for its version, and whether it can do what Dray needs of it.
 * @throws MirrorError `skopeo_missing` when there is none, or one that is too old.
 */
export async function probeSkopeo(
  skopeo: string,
  env: Record<string, string>,
  signal: AbortSignal = AbortSignal.timeout(10_000),
): Promise<{ version: string }> {
  let output = '';
  const exit = await run(skopeo, ['--version'], {
    env,
    signal,
    onLine: (line) => (output += `${line}\n`),
  }).catch((error: unknown) => {
    throw new MirrorError('skopeo_missing', `There is no command ${skopeo}.`, { cause: error });
  });
  const [, version, major, minor] = /version (([0-9]+)\.([0-9]+)\S*)/.exec(output) ?? [];
  if (exit.code !== 0 || version === undefined)
    throw new MirrorError('skopeo_missing', `${skopeo} does not say which version of Skopeo it is.`);
  const [a, b] = [Number(major), Number(minor)];
  if (a < oldest[0] || (a === oldest[0] && b < oldest[1]))
    throw new MirrorError(
      'skopeo_missing',
      `${skopeo} is version ${version}; Dray needs ${oldest.join('.')} or later.`,
    );
  return { version };
}
