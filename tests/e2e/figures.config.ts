// `make bench`: figures that only a browser can measure, with the programs of the release build.
import { defineConfig } from '@playwright/test';

import { browser } from './browser';

export default defineConfig({
  testDir: '.',
  testMatch: ['figures.ts', 'figures-load.ts'],
  workers: 1,
  retries: 0,
  timeout: 300_000,
  expect: { timeout: 30_000 },
  reporter: [['line']],
  use: browser,
});
