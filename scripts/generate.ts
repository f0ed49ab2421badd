// Writes what is derived from the code: the JSON Schema of dray.yaml and the table of errors. Tests hold both.
import { writeFileSync } from 'node:fs';
import { configJsonSchema } from '../src/config.ts';
import { errorsPage } from './errors-page.ts';

const write = (file: string, text: string) => writeFileSync(new URL(`../${file}`, import.meta.url), text);

write('dray.schema.json', `${JSON.stringify(configJsonSchema(), null, 2)}\n`);
write('docs/errors.md', errorsPage());
