/** `0 B`, `28.1 MB`: decimal units, as registries and Docker count. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.95 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit] ?? ''}`;
}

const sizes: Record<string, number> = {
  ...{ b: 1, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12 },
  ...{ kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40 },
};

/** Reads `20GB`, `1.5 GiB` or a bare number of bytes; undefined when it is none of these. */
export function parseBytes(text: string): number | undefined {
  const [, number, unit = ''] = /^([0-9]+(?:\.[0-9]+)?) *([a-z]*)$/i.exec(text.trim()) ?? [];
  const size = unit === '' ? 1 : sizes[unit.toLowerCase()];
  if (number === undefined || size === undefined) return undefined;
  return Math.round(Number(number) * size);
}
