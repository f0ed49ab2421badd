import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/interop/**/*.interop.ts'],
    globalSetup: ['test/interop/setup.ts'],
    // The Wave command line looks every ten seconds; Nextflow starts a JVM, maybe on a busy machine.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    // What ran with which client is the point of this suite.
    reporters: ['verbose'],
  },
});
