import { formatRepository, parseRegistry, type Reference } from './reference.ts';

// Patterns of policy rules. They are no regular expressions: whoever writes a rule must not be able to make the
// service busy with a name that somebody else chose.

/** Longer ones are a mistake: a name has 255 characters, a tag 128. */
const longest = 512;

/** Tells whether text as a whole fits: `*` stands for any characters but `/`, `**` for any at all; also for none. */
export function globMatches(glob: string, text: string): boolean {
  const tokens = glob.match(/\*\*|[^]/gu) ?? [];
  // The places in the pattern where one may be after what was read so far: never more than it is long.
  let places = new Set<number>();
  const arrive = (places: Set<number>, place: number): void => {
    places.add(place);
    const token = tokens[place];
    if (token === '*' || token === '**') arrive(places, place + 1);
  };
  arrive(places, 0);
  for (const letter of text) {
    const next = new Set<number>();
    for (const place of places) {
      const token = tokens[place];
      if (token === '**' || (token === '*' && letter !== '/')) arrive(next, place);
      else if (token === letter) arrive(next, place + 1);
    }
    if (next.size === 0) return false;
    places = next;
  }
  return places.has(tokens.length);
}

/** A pattern of images, read. */
export interface ImagePattern {
  /** Of `host/path`. */
  name: string;
  /** Absent: any tag, and none. */
  tag?: string;
}

/**
 * Reads `host/path[:tag]` with stars; the host in lower case, Docker Hub's other names made `docker.io`.
 * @returns why it is no pattern, as what follows its name in a sentence, where it is none.
 */
export function parseImagePattern(text: string): ImagePattern | string {
  if (text.length > longest) return `is longer than ${longest} characters`;
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return 'starts with a scheme; leave that out';
  if (text.includes('@')) return 'names a digest; a pattern is of names and tags';
  const colon = text.lastIndexOf(':');
  const hasTag = colon > text.lastIndexOf('/');
  const tag = hasTag ? text.slice(colon + 1) : undefined;
  const whole = hasTag ? text.slice(0, colon) : text;
  if (tag !== undefined && !/^[\w.*-]+$/.test(tag)) return 'has a tag that no image can have';
  const slash = whole.indexOf('/');
  if (slash < 0) {
    // What would otherwise be no more than a host, and match nothing.
    if (whole !== '**') return 'names no path; write it like quay.io/acme/** or docker.io/library/*:1.*';
    return { name: whole, ...(tag !== undefined && { tag }) };
  }
  const [host, path] = [canonicalHost(whole.slice(0, slash)), whole.slice(slash + 1)];
  if (host === undefined) return 'does not start with a registry host';
  if (!/^[a-z0-9._*/-]+$/.test(path) || path.split('/').includes(''))
    return 'has a path that no image can have; repository names are in lower case';
  // To Docker that is `library/…`; here it would match nothing, which is no good in a rule that forbids.
  if (host === 'docker.io' && !path.includes('/') && !path.includes('**'))
    return `has a path of one part, which no image on Docker Hub has; write docker.io/library/${path}`;
  return { name: `${host}/${path}`, ...(tag !== undefined && { tag }) };
}

function canonicalHost(host: string): string | undefined {
  if (host.includes('*')) return /^[a-zA-Z0-9.:[\]*-]+$/.test(host) ? host.toLowerCase() : undefined;
  try {
    return /[.:]/.test(host) || host === 'localhost' ? parseRegistry(host) : undefined;
  } catch {
    return undefined;
  }
}

/** Tells whether a reference fits. Without a tag it fits no pattern that has one, unless `anyTag` leaves tags out. */
export function imageMatches({ name, tag }: ImagePattern, reference: Reference, anyTag = false): boolean {
  if (!globMatches(name, formatRepository(reference))) return false;
  if (tag === undefined || anyTag) return true;
  return reference.tag !== undefined && globMatches(tag, reference.tag);
}
