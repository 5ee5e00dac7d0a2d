// Two hundred clusters with labels: on the overview, in the search dialog, on a phone, grouped.
import type { Page } from '@playwright/test';

import { deleteCluster, putKeys } from './registry-keys';
import { expect, live, signIn, test, violations } from './test';

const COUNT = 200;
const NAMES = Array.from({ length: COUNT }, (_, index) => `fleet-${String(index + 1).padStart(3, '0')}`);

/** How far the page is wider than the screen, in pixels. */
const overflow = (page: Page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

/** Links and buttons whose text is cut off, by their text. */
const cutOff = (page: Page) =>
  page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>('main a, main button, dialog a')]
      .filter((one) => one.offsetParent && one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX !== 'visible')
      .map((one) => one.textContent),
  );

test.beforeEach(() => {
  const keys = NAMES.flatMap((name, index) =>
    [1, 2, 3].map((node) => [`${name}/127.7.${index}.${node}:9/wsrep_local_state_comment`, 'Synced']),
  );
  putKeys(Object.fromEntries(keys));
});
test.afterEach(() => {
  deleteCluster('fleet-', true);
});

for (const scheme of ['light', 'dark'] as const) {
  test.describe(`in ${scheme} mode`, () => {
    test.use({ colorScheme: scheme });

    test('two hundred clusters are pages of the table, groups and results, in every width', async ({ page }) => {
      test.setTimeout(600_000);
      await signIn(page, 'viewer', '/?group=env');
      await live(page);
      await expect(page.getByRole('main').getByText(`${COUNT + 1} All`)).toBeVisible({ timeout: 180_000 });
      for (const width of [1440, 390]) {
        await page.setViewportSize({ width, height: 900 });
        await expect(page.getByText(`1–50 of ${COUNT + 1}`)).toBeVisible();
        expect(await overflow(page), `${width} pixels`).toBeLessThanOrEqual(0);
        expect(await cutOff(page), `${width} pixels`).toEqual([]);
        expect(await violations(page), `${width} pixels`).toEqual([]);
      }
      // The group is a selection of all clusters that have the label, on several pages.
      await page.getByRole('table', { name: /^Clusters by label/ }).getByRole('link', { name: 'env=production' }).click();
      await expect(page.getByText(`1–50 of ${COUNT}`)).toBeVisible();
      await page.getByRole('link', { name: 'Next' }).click();
      await expect(page.getByText(`51–100 of ${COUNT}`)).toBeVisible();
      expect(new URL(page.url()).searchParams.get('group')).toBe('env');
      await page.keyboard.press('Control+k');
      const dialog = page.getByRole('dialog');
      await expect(dialog.getByText(/^The first 20 of \d+ results/)).toBeVisible();
      await dialog.getByRole('searchbox').fill('fleet-117');
      const first = dialog.locator('#results a').first();
      // Labels are beside the name, not in it.
      await expect(first).toHaveText('fleet-117');
      await expect(dialog.locator('#results li').first()).toContainText('team=payments');
      await expect(dialog).toBeInViewport();
      expect(await cutOff(page)).toEqual([]);
      expect(await violations(page)).toEqual([]);
      await page.keyboard.press('Enter');
      await expect(page).toHaveURL(/\/clusters\/fleet-117$/);
    });
  });
}
