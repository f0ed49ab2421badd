import { Option } from 'commander';
import type { Choice } from '../core/selection.ts';

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
    ).argParser(collect),
    new Option(
      '--referrers <types>',
      'what comes along of signatures and the like: all, none, or artifact types with commas',
    ).argParser(collect),
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

function collect(text: string, before: string[] = []): string[] {
  const parts = text.split(',').map((part) => part.trim());
  return [...before, ...parts.filter((part) => part !== '')];
}
