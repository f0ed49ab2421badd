import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startRegistry, type TestRegistry } from '../test/fixtures/registry.ts';
import { startService, type TestService } from '../test/fixtures/service.ts';

/** What measurements run on. Everything that it hands out is gone after `close`, whatever happened in between. */
export interface Stage {
  folder(): Promise<string>;
  registry(): Promise<TestRegistry>;
  /** `bin/dray serve` on a data folder of its own, or on the one given; `settings` is text of a dray.yaml. */
  service(options?: { folder?: string; settings?: string }): Promise<TestService>;
  /** Has `close` end what `make` made, unless the returned function did so before. */
  keep<T>(make: Promise<T>, end: (made: T) => Promise<unknown>): Promise<{ made: T; end(): Promise<void> }>;
  /** A part of this stage that can be closed earlier. */
  part(): Stage;
  close(): Promise<void>;
}

export function createStage(): Stage {
  const ends: (() => Promise<void>)[] = [];
  let closed = false;

  async function keep<T>(make: Promise<T>, end: (made: T) => Promise<unknown>) {
    // Known before it is made: a Ctrl-C meanwhile waits for it, and then ends it.
    let ended: Promise<void> | undefined;
    const endOnce = () =>
      (ended ??= make.then(end, () => undefined).then(() => void ends.splice(ends.indexOf(endOnce), 1)));
    ends.push(endOnce);
    const made = await make;
    if (closed) throw new Error('The stage is closed.');
    return { made, end: endOnce };
  }

  const stage: Stage = {
    keep,
    async folder() {
      const remove = (path: string) => rm(path, { recursive: true, force: true, maxRetries: 3 });
      return (await keep(mkdtemp(join(tmpdir(), 'dray-bench-')), remove)).made;
    },
    async registry() {
      const { made, end } = await keep(startRegistry(), (registry) => registry.stop());
      return { ...made, stop: end };
    },
    async service({ folder, settings = '' } = {}) {
      const dataDir = folder ?? (await stage.folder());
      const file = join(dataDir, 'dray.yaml');
      await writeFile(file, settings);
      const { made, end } = await keep(startService(dataDir, { DRAY_CONFIG: file }), (service) =>
        service.stop(),
      );
      return { ...made, stop: () => end().then(() => 0) };
    },
    part() {
      const part = createStage();
      void keep(Promise.resolve(part), () => part.close());
      return part;
    },
    async close() {
      closed = true;
      // Last made, first ended: a service before its data folder.
      for (const end of ends.toReversed()) await end();
    },
  };
  return stage;
}
