import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts', 'test/**/*.test.tsx'],
    testTimeout: 180_000,
    hookTimeout: 120_000,
    // What is waited for comes late on a busy machine; what never comes is found out all the same.
    expect: { poll: { timeout: 60_000 } },
    pool: 'forks',
    // Guests and browsers share the machine's cores with each other: two files at a time.
    maxWorkers: 2,
    // An engine that a test starts keeps no process ready: from the sources it costs a second of a core (test/integration/spareProcess.test.ts has its own). What a test
    // compiles is no other's business.
    env: { VANDERPOOL_SPARE: 'off', VANDERPOOL_TRANSLATIONS: 'off' },
  },
});
