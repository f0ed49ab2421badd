import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const src = fileURLToPath(new URL('../src', import.meta.url));

/** Floors, highest first. A file imports from its own room and from floors beneath it. */
const floors = [
  ['cli'],
  ['compose'],
  ['api', 'web'],
  ['mirror'],
  ['keychain', 'executor', 'registry', 'platform', 'queue'],
  ['db'],
  ['wire', 'config.ts', 'version.ts'],
  ['settings.ts'],
  ['core'],
  ['lib'],
];
/** The dashboard runs in a browser and knows the API only. */
const onlySees: Record<string, string[]> = { web: ['wire'] };

const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
const sources = files.filter((file) => !file.endsWith('.test.ts'));

/** Relative imports of a file, types included, as paths below src/. */
function importsOf(file: string): string[] {
  const text = readFileSync(join(src, file), 'utf8');
  return [...text.matchAll(/(?:from\s+|import\s*\(?\s*)'(\.[^']+)'/g)].map(([, path = '']) =>
    normalize(join(dirname(file), path)),
  );
}

const roomOf = (file: string) => file.split('/')[0] ?? '';
const floorOf = (room: string) => floors.findIndex((rooms) => rooms.includes(room));

function faults(file: string, imports: string[]): string[] {
  const room = roomOf(file);
  return imports
    .map(roomOf)
    .filter((other) => other !== room)
    .filter((other) =>
      onlySees[room]
        ? !onlySees[room].includes(other)
        : floorOf(other) <= floorOf(room) || floorOf(other) < 0,
    )
    .map((other) => `${file} imports from ${other}`);
}

describe('the floor plan', () => {
  it('sees sideways and upward imports', () => {
    expect(faults('registry/x.ts', ['keychain/y.ts', 'mirror/z.ts', 'core/digest.ts'])).toEqual([
      'registry/x.ts imports from keychain',
      'registry/x.ts imports from mirror',
    ]);
    expect(faults('web/x.ts', ['core/digest.ts', 'wire/error.ts'])).toEqual(['web/x.ts imports from core']);
    expect(importsOf('api/app.ts')).toContain('core/errors.ts');
    expect(importsOf('compose/service.ts')).toContain('db/open.ts');
  });

  it('gives every file a room', () => {
    expect(sources.filter((file) => floorOf(roomOf(file)) < 0)).toEqual([]);
  });

  it('lets no file import sideways or upward', () => {
    expect(sources.flatMap((file) => faults(file, importsOf(file)))).toEqual([]);
  });

  it('reads the environment in config.ts only, and ends the process in cli/main.ts only', () => {
    const using = (pattern: RegExp) =>
      sources.filter((file) => pattern.test(readFileSync(join(src, file), 'utf8')));
    expect(using(/process\.env/)).toEqual(['config.ts']);
    expect(using(/process\.exit\b/)).toEqual(['cli/main.ts']);
  });

  it('has no barrels and no drawers', () => {
    expect(sources.filter((file) => /(?:^|\/)(?:index|utils?|common|helpers?)\b/.test(file))).toEqual([]);
    expect(
      sources.filter((file) => /^export (?:\*|\{[^}]*\}) from/m.test(readFileSync(join(src, file), 'utf8'))),
    ).toEqual([]);
  });

  it('keeps names in kebab case', () => {
    expect(files.map((file) => relative('.', file)).filter((file) => !/^[a-z0-9/.-]+$/.test(file))).toEqual(
      [],
    );
  });
});
