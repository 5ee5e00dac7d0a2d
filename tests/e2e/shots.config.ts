// `npm run shots`: the pictures of the README, light and dark, written into docs/.
import { defineConfig } from '@playwright/test';

import { browser } from './browser';

export default defineConfig({
  testDir: '.',
  testMatch: 'shots.ts',
  workers: 1,
  retries: 0,
  timeout: 120_000,
  reporter: [['list']],
  use: { ...browser, viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1 },
});
