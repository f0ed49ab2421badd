import { type Digest, isDigest } from '../core/digest.ts';
import { parseRetryAfter } from '../lib/retry-after.ts';
import type { CopyEvent } from './executor.ts';

const line = /^time="[^"]*" level=(\w+) msg=(.*)$/;
const blobStates: [RegExp, 'started' | 'done' | 'skipped' | 'mounted'][] = [
  [/^Downloading \S*\/blobs\/(\S+)$/, 'started'],
  [/^Upload of layer (\S+) complete$/, 'done'],
  [/^Skipping blob (\S+) \(already present\)/, 'skipped'],
];
const mounting = /^Trying to mount \S*[?&]mount=([^&\s]+)/;

// Whatever the target answers to an index, the fatal line is about converting it; the answer is told at debug only.
const indexRefused = /^Upload of manifest list type \S+ failed: (.*)$/;
const convert = /^Manifest list (?:must be converted|was edited)/;

// Both are for debugging only, in Skopeo 1.9.3 and in 1.22. The header is told in full, the wait is cut to a minute.
const retryAfterHeader = /^Detected 'Retry-After' header "(.*)"$/;
const throttling =
  /^(Too many requests to https?:\/\/(?:[^/\s@]*@)?([^/\s?]+)(\S*)): sleeping for ([0-9.]+) seconds/;

// Blobs are moved side by side, and everything else one after another: the last of these is what it waits for.
const request = /^(?:GET|HEAD|POST|PUT|PATCH) https?:\/\/(?:[^/\s@]*@)?([^/\s?]+)(\S*)$/;

/** Seconds that Skopeo waits at most. */
const longestWait = 60;

/** A registry answers 429 and Skopeo would now wait, up to a minute, and ask again, up to four times. */
export interface Throttle {
  /** `host[:port]` that was asked; Docker Hub's is `registry-1.docker.io`. */
  host: string;
  /** It was a token to push with that was asked for; of a token server, the host alone may tell no side. */
  pushes?: boolean;
  /** Seconds that the registry named; Skopeo makes up waits of its own where it named none. */
  retryAfter?: number;
}

/** Reads a copy's output line by line. */
export interface OutputReader {
  read(text: string): CopyEvent[];
  /** What Skopeo called fatal, without its frame; empty when it said nothing. */
  fatal(): string;
  /** Set once Skopeo has begun to wait for a registry. */
  throttled(): Throttle | undefined;
  /** `host[:port]` whose answer it waits for; undefined while blobs move, when it may be anybody's. */
  awaited(): string | undefined;
}

export function createOutputReader(): OutputReader {
  const tried = new Set<string>();
  let fatal = '';
  let refusal: string | undefined;
  let header: string | undefined;
  let throttle: Throttle | undefined;
  let awaited: string | undefined;

  /** The two lines follow each other, but six layers are copied at once: a header counts when it explains the wait. */
  function namedWait(wait: number): { retryAfter?: number } {
    const seconds = parseRetryAfter(header ?? '');
    const explains = seconds !== undefined && Math.abs(Math.min(seconds, longestWait) - wait) <= 1;
    return explains ? { retryAfter: seconds } : {};
  }

  return {
    read(text) {
      const [, level, quoted] = line.exec(text) ?? [];
      if (level === undefined || quoted === undefined) return text.trim() === '' ? [] : [say(text)];
      const message = unquote(quoted);
      refusal ??= indexRefused.exec(message)?.[1];
      if (level === 'fatal') fatal = cleanText(convert.test(message) ? (refusal ?? message) : message);
      if (level !== 'debug') return [say(`${level}: ${message}`)];
      const [, asked, path = ''] = request.exec(message) ?? [];
      if (asked !== undefined) awaited = path.includes('/blobs/') ? undefined : asked;
      header = retryAfterHeader.exec(message)?.[1] ?? header;
      const [, told, host, where = '', wait] = throttling.exec(message) ?? [];
      if (told !== undefined && host !== undefined) {
        throttle ??= {
          host,
          ...(/[?&]scope=[^&]*push/.test(where) && { pushes: true }),
          ...namedWait(Number(wait)),
        };
        return [say(told)];
      }
      const mount = mounting.exec(message)?.[1];
      if (mount !== undefined) tried.add(decodeURIComponent(mount));
      for (const [pattern, state] of blobStates) {
        const digest = pattern.exec(message)?.[1];
        if (digest === undefined || !isDigest(digest)) continue;
        return [blob(digest, state === 'skipped' && tried.has(digest) ? 'mounted' : state)];
      }
      return [];
    },
    fatal: () => fatal,
    throttled: () => throttle,
    awaited: () => awaited,
  };
}

function say(text: string): CopyEvent {
  return { type: 'log', line: cleanText(text) };
}

function blob(digest: Digest, state: 'started' | 'done' | 'skipped' | 'mounted'): CopyEvent {
  return { type: 'blob', digest, state };
}

/** logrus writes a message with spaces as a Go string literal. */
function unquote(text: string): string {
  return text.startsWith('"') && text.endsWith('"')
    ? text
        .slice(1, -1)
        .replace(/\\(["\\])/g, '$1')
        .replace(/\\n/g, ' ')
    : text;
}

/** Query strings may be signed, and a URL may hold a login: neither is for a log. */
function cleanText(text: string): string {
  return text
    .replace(/(https?:\/\/[^\s"?]*)\?[^\s"]*/g, '$1')
    .replace(/(https?:\/\/)[^\s"/@]*@/g, '$1')
    .slice(0, 2000);
}
