// Recorded figures: charts that are readable without the picture, and gaps that stay gaps.
import { type Page } from '@playwright/test';

import { OFFLINE, violations, command, currentLab, expect, openCluster, test } from './test';

const cluster = () => `/clusters/${currentLab().cluster}`;

/** How many unbroken parts the first node's curve of commits has. */
async function parts(page: Page): Promise<number> {
  const curve = await page.locator('.chart .line').first().getAttribute('d');
  return (curve ?? '').split('M').length - 1;
}

test('the charts of a cluster are a tab, with ranges, values and links to the nodes', async ({ page }) => {
  await openCluster(page);
  await page.getByRole('navigation', { name: 'Views of the cluster' }).getByRole('link', { name: 'Charts' }).click();
  await expect(page.getByRole('heading', { name: 'Commits per second' })).toBeVisible();
  await expect.poll(async () => {
    await page.goto(`${cluster()}/series?range=15m`);
    return parts(page);
  }, { timeout: 180_000 }).toBeGreaterThan(0);
  await expect(page.getByRole('img', { name: /^Commits per second, n1 .*highest/ })).toBeVisible();
  const commits = page.locator('section', { has: page.getByRole('heading', { name: 'Commits per second' }) });
  await commits.getByText('Values').press('Enter');
  await expect(commits.getByRole('columnheader', { name: /^n3/ })).toBeVisible();
  await expect(commits.getByRole('cell', { name: /\/s$/ }).first()).toBeVisible();
  expect(await violations(page)).toEqual([]);
  await page.getByRole('link', { name: '24 h' }).click();
  await expect(page).toHaveURL(/range=24h/);
  await expect(page.getByRole('link', { name: '24 h' })).toHaveAttribute('aria-current', 'true');
  await commits.getByRole('link', { name: /^n2/ }).click();
  await expect(page.getByRole('heading', { name: 'Recorded figures' })).toBeVisible();
  await expect(page.getByRole('img', { name: /^Receive queue: / })).toBeVisible();
});

test('the charts fit a phone', async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 844 });
  await openCluster(page);
  for (const path of [`${cluster()}/series`, `${cluster()}/nodes/${currentLab().nodes[0].id}`]) {
    await page.goto(path);
    await expect(page.locator('.chart').first()).toBeVisible();
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    expect(width, path).toBeLessThanOrEqual(390);
    // Three screens: the figures of three nodes are compared without losing sight of them.
    const heights = await page.locator('.charts').evaluateAll((charts) => charts.map((each) => each.clientHeight));
    expect(heights.reduce((sum, height) => sum + height, 0), path).toBeLessThanOrEqual(3 * 844);
  }
});

test.describe(() => {
  test.use({ allowed: OFFLINE });

  test('a killed console leaves a gap, not a zero', async ({ page }) => {
    const path = `${cluster()}/series?range=15m`;
    await openCluster(page);
    const before = async () => {
      await page.goto(path);
      return parts(page);
    };
    await expect.poll(before, { timeout: 180_000 }).toBeGreaterThan(0);
    const count = await parts(page);
    await command('console kill');
    const killed = Date.now();
    // Two intervals of this range without readings.
    await expect.poll(() => Date.now() - killed, { timeout: 90_000 }).toBeGreaterThan(12_000);
    await command('console start');
    await expect.poll(before, { timeout: 180_000 }).toBe(count + 1);
    await expect(page.locator('.chart .gap').first()).not.toHaveAttribute('d', '');
  });
});
