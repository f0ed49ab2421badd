// Writes the JSON Schema of dray.yaml, for editors; src/config.test.ts holds it to the code.
import { writeFileSync } from 'node:fs';
import { configJsonSchema } from '../src/config.ts';

writeFileSync(
  new URL('../dray.schema.json', import.meta.url),
  `${JSON.stringify(configJsonSchema(), null, 2)}\n`,
);
