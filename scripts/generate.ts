// Writes what is derived from the code: the JSON Schema of dray.yaml and the table of errors. Tests hold both.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { configJsonSchema } from '../src/config.ts';
import { errorsPage } from './errors-page.ts';

async function write(file: string, text: string): Promise<void> {
  const path = fileURLToPath(new URL(`../${file}`, import.meta.url));
  writeFileSync(path, await format(text, { ...(await resolveConfig(path)), filepath: path }));
}

await write('dray.schema.json', JSON.stringify(configJsonSchema()));
await write('docs/errors.md', errorsPage());
