/** One way in which a registry wants us to log in (RFC 9110, section 11.6.1). */
export interface Challenge {
  /** Lower case: `bearer`, `basic`. */
  scheme: string;
  /** Names in lower case; the last one wins. */
  parameters: Map<string, string>;
}

const token = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const parameter = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))/y;
const separator = /[ \t,]*/y;

/** Reads a WWW-Authenticate header, which may hold several challenges; stops at what it can't read. */
export function parseChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(header);
    if (match) at = pattern.lastIndex;
    return match ?? undefined;
  };
  for (;;) {
    take(separator);
    const found = take(parameter);
    const current = challenges.at(-1);
    if (found && current) {
      const value = found[2] === undefined ? found[3] : found[2].replace(/\\(.)/g, '$1');
      current.parameters.set((found[1] as string).toLowerCase(), value as string);
      continue;
    }
    const scheme = found ? undefined : take(token);
    if (!scheme) return challenges;
    challenges.push({ scheme: scheme[0].toLowerCase(), parameters: new Map() });
  }
}
