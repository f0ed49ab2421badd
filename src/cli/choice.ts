import { InvalidArgumentError, Option } from 'commander';
import { asMirrorError, MirrorError } from '../core/errors.ts';
import { type Choice, parsePlatform } from '../core/selection.ts';

/** Options that say what of an image is wanted. */
export interface ChoiceOptions {
  platform?: string[];
  referrers?: string[];
}

export function choiceOptions(): Option[] {
  return [
    new Option(
      '--platform <platform>',
      'only this platform, such as linux/amd64; repeatable, or a list with commas',
    ).argParser((text, before?: string[]) => collect(text, before, parsePlatform)),
    new Option(
      '--referrers <types>',
      'what comes along of signatures and the like: all, none, or artifact types with commas',
    ).argParser((text, before?: string[]) => collect(text, before, readReferrers)),
  ];
}

/** What was chosen; what was not is as the settings have it. */
export function choiceOf({ platform, referrers }: ChoiceOptions): Choice {
  const [first, ...more] = referrers ?? [];
  const word = more.length === 0 && (first === 'all' || first === 'none') ? first : undefined;
  return {
    ...(platform && { platforms: platform }),
    ...(referrers && { referrers: word ?? referrers }),
  };
}

/** Wrong use is told before anything is asked for. */
function collect(text: string, before: string[] = [], read: (part: string) => string): string[] {
  const parts = text.split(',').map((part) => part.trim());
  try {
    return [...before, ...parts.filter((part) => part !== '').map((part) => read(part))];
  } catch (error) {
    throw new InvalidArgumentError(asMirrorError(error).message);
  }
}

function readReferrers(text: string): string {
  if (text === 'all' || text === 'none' || /^[!-~]+\/[!-~]+$/.test(text)) return text;
  throw new MirrorError(
    'invalid_request',
    'Give all, none, or artifact types such as application/spdx+json.',
  );
}
