interface Document {
  paths?: unknown;
  components?: { schemas?: Record<string, unknown> };
}

const reference = '#/components/schemas/';

/**
 * The provider names each schema twice, `X` for answers and `XInput` for bodies. Here the one that is used is called `X`.
 * @throws Error where both are used and differ: then one of them needs a name of its own.
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
  const nameOf = (name: string) => name.replace(/Input$/, '');
  const rename = <V>(value: V): V =>
    JSON.parse(JSON.stringify(value), (key, found: unknown) =>
      key === '$ref' && typeof found === 'string' && found.startsWith(reference)
        ? reference + nameOf(found.slice(reference.length))
        : found,
    ) as V;
  const schemaOf = (name: string): unknown => {
    const [output, input] = [rename(schemas[name]), rename(schemas[`${name}Input`])];
    if (!used.has(`${name}Input`)) return output;
    if (used.has(name) && JSON.stringify(output) !== JSON.stringify(input))
      throw new Error(`${name} is one thing in answers and another in bodies`);
    return input;
  };
  const names = [...new Set(Object.keys(schemas).map(nameOf))].sort();
  return {
    ...document,
    paths: rename(document.paths),
    components: {
      ...document.components,
      schemas: Object.fromEntries(names.map((name) => [name, schemaOf(name)])),
    },
  };
}

function referencesIn(value: unknown): string[] {
  return [...JSON.stringify(value ?? null).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map(
    ([, name = '']) => name,
  );
}
