// Events appear live, and can be filtered and linked to.
import type { Page } from '@playwright/test';

import { command, expect, markDocument, openCluster, signIn, test, violations } from './test';

const table = (page: Page) => page.getByRole('table', { name: 'Events, newest first' });
const rows = (page: Page) => table(page).locator('tbody tr');

test('a killed node appears in the events without a reload and can be filtered and linked', async ({ page }) => {
  await openCluster(page);
  await page.getByRole('navigation', { name: 'Views of the cluster' }).getByRole('link', { name: 'Events' }).click();
  await expect(page).toHaveURL(/\/clusters\/lab\/events$/);
  await expect(page).toHaveTitle(/Healthy · lab/);
  await expect(rows(page).first()).toBeVisible();
  const notReloaded = await markDocument(page);
  await command('kill n3');
  const gone = rows(page).filter({ hasText: '127.0.0.3' }).filter({ hasText: 'Unreachable' }).filter({ hasNotText: 'Cluster' }).first();
  await expect(gone).toContainText('was Synced', { timeout: 60_000 });
  await expect(rows(page).filter({ hasText: 'Cluster' }).first()).toContainText('Degraded');
  expect(await notReloaded()).toBe(true);
  expect(await violations(page)).toEqual([]);

  await page.getByLabel('Node').selectOption('127.0.0.3');
  await page.getByLabel('New state').selectOption('unreachable');
  await page.getByRole('button', { name: 'Filter' }).click();
  await expect(page).toHaveURL(/node=127\.0\.0\.3&state=unreachable/);
  await expect(rows(page).first()).toContainText('Unreachable');
  await expect(rows(page).filter({ hasNotText: 'Unreachable' })).toHaveCount(0);

  const link = rows(page).first().getByTitle('Link to this event');
  const number = await link.innerText();
  await link.click();
  await expect(page).toHaveURL(new RegExp(`${number.replace('#', '#e')}$`));
  await expect(rows(page).first()).toHaveAttribute('id', number.replace('#', 'e'));
  expect(await violations(page)).toEqual([]);
});

test.describe('without script', () => {
  test.use({ javaScriptEnabled: false });

  test('the events page and its filter work', async ({ page }) => {
    await signIn(page, 'viewer', '/clusters/lab/events');
    await expect(rows(page).first()).toBeVisible();
    await page.getByLabel('Object').selectOption('verdict');
    await page.getByRole('button', { name: 'Filter' }).click();
    await expect(page).toHaveURL(/kind=verdict/);
    await expect(rows(page).filter({ hasNotText: 'Cluster' })).toHaveCount(0);
    await page.getByLabel('New state').selectOption('diverged');
    await page.getByRole('button', { name: 'Filter' }).click();
    await expect(page.getByText('No matching events.')).toBeVisible();
  });
});

