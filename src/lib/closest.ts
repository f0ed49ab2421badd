/** The name that was probably meant; undefined when none is near enough to be named. */
export function closest(word: string, names: readonly string[]): string | undefined {
  const wanted = word.toLowerCase();
  // A third of the letters may be wrong: `hots` for `host`, `registry` for `registries`.
  let found: { name: string; distance: number } | undefined;
  for (const name of names) {
    const distance = distanceOf(wanted, name.toLowerCase());
    const near = distance <= Math.max(wanted.length, name.length) / 3;
    if (near && distance < (found?.distance ?? Infinity)) found = { name, distance };
  }
  return found?.name;
}

/** Letters to insert, remove, replace or swap with their neighbour (optimal string alignment). */
function distanceOf(a: string, b: string): number {
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const line = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      line[column] = Math.min(
        (above[column] ?? 0) + 1,
        (line[column - 1] ?? 0) + 1,
        (above[column - 1] ?? 0) + (same ? 0 : 1),
        swapped ? (before[column - 2] ?? 0) + 1 : Infinity,
      );
    }
    [before, above] = [above, line];
  }
  return above[b.length] ?? 0;
}
