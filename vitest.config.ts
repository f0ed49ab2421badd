import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    // The recorded requests of real clients need none of those clients.
    include: ['src/**/*.test.ts', 'test/**/*.test.ts', 'test/interop/recorded.interop.ts'],
    globalSetup: ['test/evidence/setup.ts'],
    setupFiles: ['test/evidence/record.ts'],
    // All that the suite has written is searched for secrets then.
    teardownTimeout: 60_000,
    // Real registries, Skopeo and databases on two cores: a slow machine is no failure.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 20_000 } },
    maxWorkers: 2,
  },
});
