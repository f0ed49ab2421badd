interface Document {
  paths?: unknown;
  components?: { schemas?: Record<string, unknown> };
}

const reference = '#/components/schemas/';

/**
 * Takes out what no path refers to. The provider names each schema twice, `X` for answers and `XInput` for bodies; where
 * only one of them is used, as with all of ours, it is `X`.
 */
export function tidyComponents<T extends Document>(document: T): T {
  const schemas = document.components?.schemas ?? {};
  const used = new Set<string>();
  const visit = (value: unknown): void => {
    for (const name of referencesIn(value)) {
      if (used.has(name)) continue;
      used.add(name);
      visit(schemas[name]);
    }
  };
  visit(document.paths);
  const nameOf = (name: string) => {
    const short = name.replace(/Input$/, '');
    return used.has(short) ? name : short;
  };
  const rename = <V>(value: V): V =>
    JSON.parse(JSON.stringify(value), (key, found: unknown) =>
      key === '$ref' && typeof found === 'string' && found.startsWith(reference)
        ? reference + nameOf(found.slice(reference.length))
        : found,
    ) as V;
  return {
    ...document,
    paths: rename(document.paths),
    components: {
      ...document.components,
      schemas: Object.fromEntries([...used].sort().map((name) => [nameOf(name), rename(schemas[name])])),
    },
  };
}

function referencesIn(value: unknown): string[] {
  return [...JSON.stringify(value ?? null).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map(
    ([, name = '']) => name,
  );
}
