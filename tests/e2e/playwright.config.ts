// Browser tests of the real console on real labs: each worker has one, whose tests come one after the other and make it fail.
// Three labs wait for each other's timeouts side by side; more would compete for the cores of a small machine.
import { defineConfig } from '@playwright/test';

import { browser } from './browser';

export default defineConfig({
  testDir: '.',
  testMatch: '*.spec.ts',
  workers: 3,
  fullyParallel: true,
  retries: 0,
  forbidOnly: true,
  // Longest waits on a machine that does other work; a test that passes does not wait for them.
  timeout: 240_000,
  expect: { timeout: 45_000 },
  reporter: [['list']],
  outputDir: 'test-results',
  use: {
    ...browser,
    // Its pictures would be taken of every frame of tests that pass, too.
    trace: { mode: 'retain-on-failure', screenshots: false },
    screenshot: 'only-on-failure',
  },
});
