// Writes what is derived from the code: the JSON Schema of dray.yaml, the table of errors, and the types of our API.
// Tests hold all of them.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { configJsonSchema } from '../src/config.ts';
import { clientTypes } from './client-types.ts';
import { errorsPage } from './errors-page.ts';

async function write(file: string, text: string): Promise<void> {
  const path = fileURLToPath(new URL(`../${file}`, import.meta.url));
  writeFileSync(path, await format(text, { ...(await resolveConfig(path)), filepath: path }));
}

await write('dray.schema.json', JSON.stringify(configJsonSchema()));
await write('docs/errors.md', errorsPage());
await write('src/cli/openapi.ts', await clientTypes());
