import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { describe, expect, it } from 'vitest';
import { clientTypes, readOpenapi } from '../scripts/client-types.ts';
import { errorsPage, provocationOf, provokedIn } from '../scripts/errors-page.ts';
import { configJsonSchema } from '../src/config.ts';
import { catalogue, type ErrorCode } from '../src/core/errors.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const documents = globSync(['*.md', 'docs/**/*.md'], { cwd: root });

describe('the documents', () => {
  it('have every error, as the code has it (node scripts/generate.ts)', () => {
    // Prettier aligns tables.
    const plain = (text: string) => text.replace(/ *\| */g, '|').replace(/-{2,}/g, '-');
    expect(plain(read('docs/errors.md'))).toBe(plain(errorsPage()));
  });

  it('have the types of the API, as its routes have them (node scripts/generate.ts)', async () => {
    const file = 'src/cli/openapi.ts';
    const options = { ...(await resolveConfig(join(root, file))), filepath: file };
    expect(read(file)).toBe(await format(await clientTypes(), options));
  });

  it('have in the OpenAPI document all that it refers to, each under one name', async () => {
    const { paths, components } = (await readOpenapi()) as { paths: object; components: { schemas: object } };
    const named = JSON.stringify({ paths, components }).matchAll(/"#\/components\/schemas\/(\w+)"/g);
    const schemas = Object.keys(components.schemas);
    expect([...named].map(([, name]) => name).filter((name) => !schemas.includes(name ?? ''))).toEqual([]);
    expect(schemas.filter((name) => name.endsWith('Input'))).toEqual([]);
  });

  it('say of every error how it is provoked', () => {
    const codes = Object.keys(catalogue) as ErrorCode[];
    // Both are met where something is wrong with a run, not with its input.
    const unprovoked = ['grant_lost', 'internal'];
    expect(codes.filter((code) => provocationOf(code) === undefined)).toEqual(unprovoked);
    const silent = Object.entries(provokedIn).filter(([code, file]) => !read(file).includes(`'${code}'`));
    expect(silent).toEqual([]);
  });

  it('name every setting and every variable', () => {
    const { properties } = configJsonSchema() as { properties: Record<string, unknown> };
    const text = read('docs/configuration.md');
    expect(Object.keys(properties).filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
    const variables = new Set(read('src/config.ts').match(/DRAY_[A-Z_]+/g));
    expect([...variables].filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
  });

  it('link to files that exist', () => {
    const links = documents.flatMap((file) =>
      [...read(file).matchAll(/\]\((?!https?:)([^)#\s]+)/g)].map(([, link = '']) =>
        join(dirname(file), link),
      ),
    );
    expect(links.length).toBeGreaterThan(5);
    expect(links.filter((link) => !existsSync(join(root, link)))).toEqual([]);
  });

  it('name only scripts of package.json', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    const named = documents.flatMap((file) =>
      [...read(file).matchAll(/`npm run ([\w:-]+)/g)].map(([, name = '']) => name),
    );
    expect(named.filter((name) => !(name in scripts))).toEqual([]);
  });
});
