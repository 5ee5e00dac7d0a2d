// Browser tests of the real console on a real lab, one after the other: they share the lab and make it fail.
import { defineConfig } from '@playwright/test';

import { browser } from './browser';

export default defineConfig({
  testDir: '.',
  testMatch: '*.spec.ts',
  globalSetup: './stage.ts',
  workers: 1,
  fullyParallel: false,
  retries: 0,
  forbidOnly: true,
  timeout: 60_000,
  expect: { timeout: 10_000 },
  reporter: [['list']],
  outputDir: 'test-results',
  use: {
    ...browser,
    trace: 'retain-on-failure',
    screenshot: 'only-on-failure',
  },
});
