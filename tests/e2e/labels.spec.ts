// Labels of clusters: marks in rows, groups, and the filter together with everything else that selects.
import type { Page } from '@playwright/test';

import { LABELS } from './lab';
import { deleteCluster, putKeys } from './registry-keys';
import { expect, live, signIn, test, violations } from './test';

/** The lab's settings give them labels by their names. */
const CLUSTERS = ['labelled-alpha', 'labelled-beta', 'labelled-long'];

const rowOf = (page: Page, cluster: string) => page.locator(`#row-${cluster}`);
const mark = (page: Page, cluster: string, label: string) => rowOf(page, cluster).getByRole('link', { name: label, exact: true });

/** Exactly these of the clusters with labels are in the table. */
async function shown(page: Page, clusters: string[]): Promise<void> {
  for (const cluster of CLUSTERS) await expect(rowOf(page, cluster)).toHaveCount(clusters.includes(cluster) ? 1 : 0, { timeout: 60_000 });
}

/** How far the page is wider than the screen, in pixels. */
const overflow = (page: Page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

const query = (page: Page) => Object.fromEntries(new URL(page.url()).searchParams);

test.beforeEach(() => {
  for (const cluster of CLUSTERS) putKeys({ [`${cluster}/127.9.8.1:9/wsrep_local_state_comment`]: 'Synced' });
});
test.afterEach(() => {
  for (const cluster of CLUSTERS) deleteCluster(cluster);
});

for (const scheme of ['light', 'dark'] as const) {
  test.describe(`in ${scheme} mode`, () => {
    test.use({ colorScheme: scheme });

    test('marks and groups are readable in every width', async ({ page }) => {
      test.setTimeout(360_000);
      await signIn(page, 'viewer', '/?group=env');
      await live(page);
      await shown(page, CLUSTERS);
      await expect(mark(page, 'labelled-alpha', 'env=production')).toBeVisible();
      await expect(mark(page, 'labelled-long', LABELS.long)).toBeVisible();
      await expect(page.getByRole('table', { name: /^Clusters by label/ }).getByRole('link', { name: 'env=production' })).toBeVisible();
      for (const width of [320, 390, 1024, 1280]) {
        await page.setViewportSize({ width, height: 900 });
        expect(await overflow(page), `${width} pixels`).toBeLessThanOrEqual(0);
        expect(await violations(page), `${width} pixels`).toEqual([]);
      }
    });
  });
}

test('a mark filters, and text, state, group and Back keep each other', async ({ page }) => {
  test.setTimeout(360_000);
  await signIn(page, 'viewer', '/?group=team&sort=name');
  await live(page);
  await shown(page, CLUSTERS);
  await mark(page, 'labelled-alpha', 'team=web').click();
  await expect(page.locator('#label-filter')).toContainText('team=web');
  await shown(page, ['labelled-alpha', 'labelled-beta']);
  expect(query(page)).toEqual({ label: 'team=web', sort: 'name', group: 'team' });
  await live(page);
  await page.getByLabel('Search', { exact: true }).fill('beta');
  await shown(page, ['labelled-beta']);
  await expect.poll(() => query(page)).toEqual({ q: 'beta', label: 'team=web', sort: 'name', group: 'team' });
  // The marks of rows that the live channel has selected.
  await expect(mark(page, 'labelled-beta', 'env=test')).toBeVisible();
  await mark(page, 'labelled-beta', 'env=test').click();
  await expect(page.locator('#label-filter')).toContainText('env=test');
  await expect(page.getByLabel('Search', { exact: true })).toHaveValue('beta');
  await shown(page, ['labelled-beta']);
  expect(query(page)).toEqual({ q: 'beta', label: 'env=test', sort: 'name', group: 'team' });
  await page.goBack();
  await expect(page.locator('#label-filter')).toContainText('team=web');
  await shown(page, ['labelled-beta']);
  await page.locator('#label-filter').getByRole('link', { name: 'Show all' }).click();
  await expect(page.locator('#label-filter')).toHaveCount(0);
  expect(query(page)).toEqual({ q: 'beta', sort: 'name', group: 'team' });
});

test('a new cluster appears with its labels', async ({ page }) => {
  deleteCluster('labelled-beta');
  await signIn(page, 'viewer', '/?label=team%3Dweb');
  await live(page);
  await shown(page, ['labelled-alpha']);
  putKeys({ 'labelled-beta/127.9.8.1:9/wsrep_local_state_comment': 'Synced' });
  await shown(page, ['labelled-alpha', 'labelled-beta']);
  await expect(mark(page, 'labelled-beta', 'env=test')).toBeVisible();
});

test('search finds a label and the clusters that have it', async ({ page }) => {
  await signIn(page);
  await page.keyboard.press('Control+k');
  const dialog = page.getByRole('dialog', { name: 'Search' });
  await dialog.getByLabel('Cluster, node, page or term').fill('env=production');
  await dialog.getByRole('link', { name: 'env=production', exact: true }).click();
  await expect(page).toHaveURL(/\/\?label=env%3Dproduction$/);
  await shown(page, ['labelled-alpha']);
});

test.describe('without scripts', () => {
  test.use({ javaScriptEnabled: false, viewport: { width: 360, height: 740 } });

  test('marks, form and groups keep the selection', async ({ page }) => {
    await signIn(page, 'viewer', '/?group=env');
    await expect(async () => {
      await page.reload();
      await expect(rowOf(page, 'labelled-beta')).toBeVisible({ timeout: 1000 });
    }).toPass();
    await mark(page, 'labelled-beta', 'team=web').click();
    await shown(page, ['labelled-alpha', 'labelled-beta']);
    await page.getByLabel('Search', { exact: true }).fill('alpha');
    await page.getByRole('button', { name: 'Filter' }).click();
    await shown(page, ['labelled-alpha']);
    expect(query(page)).toEqual({ q: 'alpha', sort: '', label: 'team=web', group: 'env' });
  });
});
