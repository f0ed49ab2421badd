/** One block of an event stream (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
export interface Block {
  id?: string;
  event?: string;
  data?: string;
}

/** Writes a block; one with neither event nor data is a comment to those who read it, but its id counts. */
export function formatBlock({ id, event, data }: Block): string {
  const lines = [
    ...(id === undefined ? [] : [`id: ${id}`]),
    ...(event === undefined ? [] : [`event: ${event}`]),
    ...(data === undefined ? [] : data.split('\n').map((line) => `data: ${line}`)),
  ];
  return lines.length === 0 ? ':\n\n' : `${lines.join('\n')}\n\n`;
}

/** Characters of one block; ours have some hundreds. */
const blockLimit = 1_000_000;

/**
 * Reads blocks as they arrive, also those without data. A block that the end has cut off is none.
 * @throws Error when a block is absurdly long: this is no event stream then.
 */
export async function* readBlocks(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Block> {
  const decoder = new TextDecoder();
  let text = '';
  let block: Block = {};
  let touched = false;
  for await (const chunk of chunks) {
    text += decoder.decode(chunk, { stream: true });
    // A line that ends with CR may go on with LF in the next chunk.
    const lines = text.split(/\r\n|\n|\r(?!$)/);
    text = lines.pop() ?? '';
    if (text.length + (block.data?.length ?? 0) > blockLimit) throw new Error('This is no event stream.');
    for (const line of lines) {
      if (line === '') {
        if (touched) yield block;
        block = {};
        touched = false;
        continue;
      }
      touched = true;
      const [, field = '', value = ''] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? [];
      if (field === 'data') block.data = block.data === undefined ? value : `${block.data}\n${value}`;
      else if (field === 'event' || field === 'id') block[field] = value;
    }
  }
}
