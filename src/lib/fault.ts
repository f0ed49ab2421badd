import type { z } from 'zod';

const kinds: Partial<Record<string, string>> = {
  number: 'a number',
  int: 'a whole number',
  string: 'text',
  boolean: 'true or false',
  array: 'a list',
  object: 'a group of settings',
  record: 'a group of settings',
};

/**
 * What is wrong with a value, in words for those who don't know zod: follows the value's name. It never quotes the
 * value, which may be a secret. For `safeParse(…, { error: describeFault })`; a schema's own words go before it.
 */
export function describeFault(issue: z.core.$ZodRawIssue): string {
  switch (issue.code) {
    case 'invalid_type': {
      const { input, expected } = issue;
      const wanted = kinds[expected] ?? expected;
      if (input === undefined) return 'is missing';
      if (input === null) return `is empty, and must be ${wanted}`;
      const given = Array.isArray(input) ? 'array' : typeof input;
      // A number that is none (.nan), or is not whole.
      if (given === 'number' && /number|int/.test(expected)) return `must be ${wanted}`;
      return `must be ${wanted}, not ${kinds[given] ?? given}`;
    }
    case 'too_small':
      return sized(issue.origin, issue.minimum, 'at least');
    case 'too_big':
      return sized(issue.origin, issue.maximum, 'at most');
    case 'invalid_value':
      return `must be ${issue.values.length > 1 ? 'one of ' : ''}${issue.values.map((value) => String(value)).join(', ')}`;
    case 'invalid_format':
      return `is no ${issue.format === 'url' ? 'URL of the right kind' : issue.format}`;
    case 'invalid_union':
      return 'is in none of the forms that it may have';
    default:
      return 'has a value that it may not have';
  }
}

function sized(origin: string, limit: number | bigint, how: string): string {
  if (origin === 'string' && limit === 1 && how === 'at least') return 'must not be empty';
  const unit: Partial<Record<string, string>> = { string: ' characters', array: ' entries' };
  return unit[origin] ? `must have ${how} ${limit}${unit[origin]}` : `must be ${how} ${limit}`;
}
