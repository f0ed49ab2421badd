import { readBlocks } from '../lib/sse.ts';
import { mirrorEvent, type MirrorEventView } from '../wire/event.ts';

/** What an event stream has brought; nothing at all: the service is still there. */
export interface Brought {
  /** What to go on behind when the stream is cut. */
  id?: string;
  event?: MirrorEventView;
}

/** Milliseconds without anything, after which a stream is taken for cut: the service says every 15 s that it is there. */
const silence = 45_000;

/**
 * Opens a stream and reads it until it ends, is cut, or has fallen silent; the three are the same to its reader.
 * @param open gets the answer's head with the given signal, and throws what is wrong with it.
 * @param patience milliseconds that the head may take.
 */
export async function readStream(
  open: (signal: AbortSignal) => Promise<Response>,
  stop: AbortSignal,
  patience: number,
): Promise<AsyncIterable<Brought>> {
  const cut = new AbortController();
  const timer = setTimeout(() => cut.abort(), patience);
  const answer = await open(AbortSignal.any([stop, cut.signal])).finally(() => clearTimeout(timer));

  async function* chunks(): AsyncGenerator<Uint8Array> {
    const idle = setTimeout(() => cut.abort(), silence);
    try {
      for await (const chunk of answer.body ?? []) {
        idle.refresh();
        yield chunk as Uint8Array;
      }
    } catch {
      // However it ended, its reader comes again, and is told then what is wrong.
    } finally {
      clearTimeout(idle);
      cut.abort();
    }
  }

  return (async function* () {
    for await (const { id, data } of readBlocks(chunks())) {
      // A service that is newer than this command may tell what it does not know.
      const event = data === undefined ? undefined : mirrorEvent.safeParse(parse(data)).data;
      yield { ...(id !== undefined && { id }), ...(event && { event }) };
    }
  })();
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
