// The README's pictures: the cluster page while a node receives its state from a donor.
import { statSync } from 'node:fs';
import { join } from 'node:path';

import { command, expect, openCluster, row, test, verdict } from './test';

const MOST = 300_000;
const folder = join(__dirname, '..', '..', 'docs');

for (const scheme of ['light', 'dark'] as const) {
  test.describe(scheme, () => {
    test.use({ colorScheme: scheme });

    test('the cluster page', async ({ page }) => {
      await command('repair');
      await openCluster(page);
      await expect(verdict(page)).toHaveText('Healthy');
      // Half a minute of commits, so that the rate lines have something to show.
      await page.waitForTimeout(30_000);
      await command('kill n3');
      await expect(verdict(page)).toHaveText('Degraded');
      await command('wipe n3');
      await command('start n3');
      await expect(page.getByRole('img', { name: /gives its state to n3/ })).toBeVisible({ timeout: 30_000 });
      await expect(row(page, 'n3')).toContainText('Joining');
      const path = join(folder, `cluster-${scheme}.png`);
      await page.screenshot({ path, fullPage: true });
      expect(statSync(path).size, path).toBeLessThan(MOST);
      await expect(verdict(page)).toHaveText('Healthy', { timeout: 60_000 });
    });
  });
}
