// A screen on the wall, `?wall`: large, kept by links, and running again without a person.
import type { Page } from '@playwright/test';

import { deleteCluster, putKeys } from './registry-keys';
import { OFFLINE, command, currentLab, expect, live, signIn, test } from './test';

const wall = (page: Page) => page.locator('html.wall');
const parameters = (page: Page) => Object.fromEntries(new URL(page.url()).searchParams);

/** Whether the text can be read from five metres: half the height of a line of it, on a screen of 1080 lines. */
async function isLarge(page: Page, text: string): Promise<boolean> {
  const size = await page.getByText(text).first().evaluate((element) => Number.parseFloat(getComputedStyle(element).fontSize));
  return size > 20;
}

test.use({ viewport: { width: 1920, height: 1080 } });

test.describe('links', () => {
  test.beforeEach(() => putKeys({ 'labelled-alpha/127.9.8.1:9/wsrep_local_state_comment': 'Synced' }));
  test.afterEach(() => deleteCluster('labelled-alpha'));

  test('of the overview and back from a cluster keep the wall, and the brand leaves it', async ({ page }) => {
    test.setTimeout(360_000);
    await signIn(page);
    await page.goto('/?wall&group=env');
    await live(page);
    await page.getByRole('link', { name: /^1 Healthy/ }).click();
    await expect(page).toHaveURL(/verdict=healthy/);
    expect(parameters(page)).toEqual({ verdict: 'healthy', group: 'env', wall: '' });
    await expect(wall(page)).toHaveCount(1);
    await page.goBack();
    await expect(page).toHaveURL(/\?wall&group=env$/);
    await expect(wall(page)).toHaveCount(1);
    await page.getByRole('table', { name: /^Clusters by label/ }).getByRole('link', { name: 'env=production' }).click();
    await expect(page).toHaveURL(/label=env%3Dproduction/);
    expect(parameters(page)).toEqual({ label: 'env=production', group: 'env', wall: '' });
    await page.locator('#label-filter').getByRole('link', { name: 'Show all' }).click();
    await expect(page).not.toHaveURL(/label=/);
    await expect(wall(page)).toHaveCount(1);
    // Of a row that the live channel has drawn.
    await live(page);
    await page.getByRole('main').getByRole('link', { name: 'lab', exact: true }).click();
    await expect(page).toHaveURL(/\/clusters\/lab\?wall$/);
    await expect(wall(page)).toHaveCount(1);
    await page.getByRole('link', { name: 'Clusters', exact: true }).click();
    await expect(page).toHaveURL(/\/\?wall$/);
    await page.getByRole('link', { name: 'Galera Console' }).click();
    await expect(page).toHaveURL(/\/$/);
    await expect(wall(page)).toHaveCount(0);
  });
});

test.describe('many clusters', () => {
  test.beforeEach(() => {
    const nodes = Array.from({ length: 59 }, (_, index) => [`wall-${index + 10}/127.9.6.${index + 1}:9/wsrep_local_state_comment`, 'Synced']);
    putKeys(Object.fromEntries(nodes));
  });
  test.afterEach(() => deleteCluster('wall-', true));

  test('those that the table leaves out are counted, with the worst status among them', async ({ page }) => {
    test.setTimeout(360_000);
    await signIn(page);
    await page.goto('/?wall');
    await live(page);
    await expect(page.locator('#not-shown')).toHaveText(/^Not shown: \d+ more clusters, (all healthy\.|the worst .+)$/, { timeout: 120_000 });
    await expect(page.locator('#not-shown')).toBeInViewport();
    await page.goto('/');
    await live(page);
    await expect(page.locator('#not-shown')).toHaveCount(0);
    await expect(page.getByRole('link', { name: 'Next' })).toBeVisible();
  });
});

test.describe('without a person', () => {
  test.use({ allowed: new RegExp(`${OFFLINE.source}|status of 401`) });

  test('a lost connection is in sight, and gone when the console is back', async ({ page }) => {
    test.setTimeout(360_000);
    await signIn(page);
    await page.goto('/?wall');
    await live(page);
    await command('console stop');
    await expect(page.getByText('Connection lost')).toBeInViewport({ timeout: 60_000 });
    expect(await isLarge(page, 'Connection lost')).toBe(true);
    await command('console start');
    await expect(page.getByText('Connection lost')).toHaveCount(0, { timeout: 90_000 });
    await live(page);
    await expect(wall(page)).toHaveCount(1);
  });

  test('an ended session is in sight, and another window that signs in brings the page back', async ({ page, context }) => {
    test.setTimeout(360_000);
    await signIn(page);
    await page.goto('/?wall&verdict=healthy');
    await live(page);
    const other = await context.newPage();
    await other.goto('/');
    await other.getByRole('button', { name: 'Sign out' }).click();
    await expect(page).toHaveURL(/\/sign-in\?/, { timeout: 60_000 });
    await expect(page.getByRole('alert')).toContainText('Your session has ended');
    await expect(page.getByRole('alert')).toBeInViewport();
    expect(await isLarge(page, 'Your session has ended')).toBe(true);
    await signIn(other);
    await expect(page).toHaveURL(/\/\?wall&verdict=healthy$/, { timeout: 90_000 });
    await live(page);
    await expect(wall(page)).toHaveCount(1);
  });

  test('a console of another version reloads the page', async ({ page }) => {
    test.setTimeout(360_000);
    let outdated = false;
    await page.routeWebSocket(/\/api\/v1\/live$/, (socket) => {
      if (!outdated) {
        socket.connectToServer();
        return;
      }
      outdated = false;
      socket.send(JSON.stringify({ type: 'hello', version: 99, versions: [99], server_time: new Date().toISOString() }));
    });
    await signIn(page);
    outdated = true;
    await page.goto('/?wall');
    await expect(page.getByText('The console has been updated')).toBeVisible();
    await live(page);
    await expect(page.getByText('The console has been updated')).toHaveCount(0, { timeout: 90_000 });
    await live(page);
    expect(new URL(page.url()).origin).toBe(currentLab().url);
  });
});
