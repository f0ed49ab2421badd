/** Lets so many pieces of work run at once; the others wait for their turn, in order. */
export function createSlots(count: number): <T>(work: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let free = count;
  return async (work) => {
    if (free > 0) free--;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await work();
    } finally {
      // A slot goes from hand to hand, so that nobody who comes later gets it in between.
      const next = waiting.shift();
      if (next) next();
      else free++;
    }
  };
}
