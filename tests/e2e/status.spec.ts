// Status pages: an outsider watches, an operator posts incidents, an administrator manages pages and links.
import type { APIRequestContext, Page } from '@playwright/test';

import { API, createPage, signInAs } from './status';
import { command, currentLab, expect, live, markDocument, signIn, test, violations } from './test';

/** Browsers log rejected requests. */
const REFUSED = /status of 4\d\d/;

/** Creates a status page and returns the path of a secret link to it. */
async function createLink(admin: APIRequestContext): Promise<string> {
  const slug = await createPage(admin, 'link');
  const answer = await admin.post(`${API}/pages/${slug}/links`, { data: { label: 'An outsider' } });
  expect(answer.status(), await answer.text()).toBe(201);
  const path = new URL(((await answer.json()) as { url: string }).url).pathname;
  await expect(async () => expect((await admin.get(path)).status()).toBe(200)).toPass();
  return path;
}

const overall = (page: Page) => page.locator('.overall');

test('an outsider opens a secret link and sees changes without reloading', async ({ browser, page }) => {
  const admin = await signInAs(browser, 'admin');
  await page.goto(await createLink(admin.request));
  await expect(overall(page)).toHaveText('All systems operational');
  const notReloaded = await markDocument(page);
  // The selected day is kept while the page changes.
  const days = page.getByRole('radio');
  await days.nth(80).check({ force: true });
  await command('kill n3');
  await expect(overall(page)).toHaveText('The database is degraded, but working');
  await expect(page).toHaveTitle(/degraded/);
  await command('repair');
  await expect(overall(page)).toHaveText('All systems operational', { timeout: 90_000 });
  expect(await notReloaded()).toBe(true);
  await expect(days.nth(80)).toBeChecked();
  const text = await page.content();
  for (const secret of ['127.0.0.', 'n3', '"lab"', '>lab<']) expect(text).not.toContain(secret);
  await admin.close();
});

test.describe('when the connection is lost', () => {
  test.use({ allowed: /Failed to load resource|net::ERR_/ });

  test('the page reports it and recovers', async ({ browser, page }) => {
    const admin = await signInAs(browser, 'admin');
    await page.route('**/events', (route) => route.abort());
    await page.goto(`/status/${await createPage(admin.request, 'public')}`);
    await expect(page.locator('#age')).toContainText('connection lost');
    await page.unroute('**/events');
    await expect(page.locator('#age')).toHaveText(/^, \d+ s ago$/, { timeout: 60_000 });
    await admin.close();
  });
});

test.describe('without script', () => {
  test.use({ javaScriptEnabled: false });

  test('the page is current after a reload', async ({ browser, page }) => {
    const admin = await signInAs(browser, 'admin');
    await page.goto(await createLink(admin.request));
    await expect(overall(page)).toHaveText('All systems operational');
    await command('kill n3');
    await expect(async () => {
      await page.reload();
      await expect(overall(page)).toHaveText('The database is degraded, but working', { timeout: 1_000 });
    }).toPass();
    await command('repair');
    await expect(async () => {
      await page.reload();
      await expect(overall(page)).toHaveText('All systems operational', { timeout: 1_000 });
    }).toPass({ timeout: 90_000 });
    await admin.close();
  });

  test('the figures of a day are accessible by keyboard', async ({ browser, page }) => {
    const admin = await signInAs(browser, 'admin');
    await page.goto(`/status/${await createPage(admin.request, 'public')}`);
    const today = page.getByRole('radio', { checked: true });
    const shown = page.locator('.days input:checked + span');
    await expect(page.getByRole('radio')).toHaveCount(90);
    // The lab is minutes old: no figure is one of ninety days.
    await expect(page.getByText(/Data since \d{4}-\d\d-\d\d; earlier days do not count/)).toBeVisible();
    await expect(shown).toBeVisible();
    await page.keyboard.press('Tab');
    await expect(today).toBeFocused();
    const before = await shown.innerText();
    await page.keyboard.press('ArrowLeft');
    await expect(shown).not.toHaveText(before);
    await expect(shown).toHaveText(/^\d{4}-\d\d-\d\d: /);
    // The ninety days are a single tab stop.
    await page.keyboard.press('Tab');
    await expect(page.getByRole('link', { name: 'Atom feed' })).toBeFocused();
    await admin.close();
  });
});

test('an operator opens an incident, posts an update and resolves it', async ({ browser, page }) => {
  const admin = await signInAs(browser, 'admin');
  const outside = await (await browser.newContext({ baseURL: currentLab().url })).newPage();
  await outside.goto(`/status/${await createPage(admin.request, 'public')}`);
  await signIn(page, 'operator', '/incidents');
  await live(page);
  const form = page.locator('#new form');
  await form.getByRole('checkbox', { name: 'lab' }).check();
  await form.getByLabel('Title').fill('Slow <b>writes</b>');
  await form.getByLabel('Impact').selectOption('major');
  await form.getByLabel('Message').fill('We look into it.\n<script>alert(1)</script>');
  await form.getByRole('button', { name: 'Open incident' }).click();
  const open = page.locator('#open article').filter({ hasText: 'Slow <b>writes</b>' });
  await expect(open).toContainText('Investigating');
  await expect(outside.getByRole('heading', { name: 'Slow <b>writes</b>' })).toBeVisible();
  await expect(outside.getByText('<script>alert(1)</script>')).toBeVisible();
  await expect(outside.locator('.overall')).toHaveText('Major impact: Slow <b>writes</b>');
  await live(page);
  await open.getByLabel('Status').selectOption('resolved');
  await open.getByLabel('Update').fill('It was the disk.');
  await open.getByRole('button', { name: 'Post update' }).click();
  await expect(page.locator('#past')).toContainText('It was the disk.');
  await expect(outside.getByRole('heading', { name: 'Current incidents' })).toHaveCount(0);
  await outside.locator('summary').first().click();
  await expect(outside.getByText('It was the disk.')).toBeVisible();
  await outside.context().close();
  await admin.close();
});

test('an administrator creates a page and a link, revokes the link and deletes the page', async ({ browser, page, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await signIn(page, 'admin', '/status-pages');
  await live(page);
  const slug = `made-${Date.now().toString(36)}`;
  const form = page.locator('#new form');
  await form.getByLabel(/^Slug/).fill(slug);
  await form.getByLabel('Title').fill('Made by hand');
  await form.getByLabel('Visibility').selectOption('link');
  await form.getByRole('button', { name: 'Create' }).click();
  await expect(page).toHaveURL(new RegExp(`/status-pages/${slug}$`));
  await live(page);
  await page.getByLabel('Recipient').fill('A partner');
  await page.getByRole('button', { name: 'Create link' }).click();
  const fresh = page.locator('#fresh');
  await expect(fresh.getByRole('img', { name: 'QR code' })).toBeVisible();
  const link = await fresh.getByRole('link').innerText();
  const outside = await (await browser.newContext()).newPage();
  await outside.goto(link);
  await expect(overall(outside)).toBeVisible();
  await page.getByRole('button', { name: 'Copy link to this page' }).click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(page.url());
  await live(page);
  await page.getByRole('button', { name: 'Revoke' }).click();
  await expect(page.locator('#links')).toContainText('revoked');
  await expect(outside.getByRole('heading', { name: 'Status page not found' })).toBeVisible({ timeout: 60_000 });
  await live(page);
  await page.getByLabel('Type the slug to confirm').fill(slug);
  await page.getByRole('button', { name: `Delete ${slug}` }).click();
  await expect(page).toHaveURL(/\/status-pages$/);
  await expect(page.getByText('Made by hand')).toHaveCount(0);
  await outside.context().close();
});

test('users without permission see the pages and the reason', async ({ page }) => {
  await signIn(page, 'viewer', '/status-pages');
  await expect(page.getByRole('button', { name: 'Create' })).toBeDisabled();
  await expect(page.getByText('Requires the admin role.').first()).toBeVisible();
  await page.goto('/incidents');
  await expect(page.getByRole('button', { name: 'Open incident' })).toBeDisabled();
  await expect(page.getByText('Requires the operator role.').first()).toBeVisible();
  // No form to fill in that could not be sent.
  await expect(page.getByRole('textbox')).toHaveCount(0);
});

for (const scheme of ['light', 'dark'] as const) {
  test.describe(`in ${scheme} mode`, () => {
    test.use({ colorScheme: scheme, allowed: REFUSED });

    test('status pages and their console pages pass axe', async ({ browser, page }) => {
      test.setTimeout(360_000);
      const admin = await signInAs(browser, 'admin');
      const slug = await createPage(admin.request, 'public', {
        show: { hosts: true, addresses: true, versions: true, positions: true },
      });
      const until = new Date(Date.now() + 3_600_000).toISOString();
      const clusters = [currentLab().cluster];
      const content = { title: 'A title', text: 'Some words.' };
      await admin.request.post(`${API}/incidents`, { data: { clusters, ...content } });
      const planned = await admin.request.post(`${API}/maintenance`, { data: { clusters, ...content, until } });
      await admin.request.post(`${API}/announcements`, { data: { ...content, pages: [slug] } });
      await page.goto(`/status/${slug}`);
      await expect(page.getByRole('heading', { name: 'Announcements' })).toBeVisible();
      for (const width of [360, 1280]) {
        await page.setViewportSize({ width, height: 800 });
        expect(await violations(page), `/status at ${width}`).toEqual([]);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        expect(overflow, `horizontal overflow at ${width}`).toBeLessThanOrEqual(0);
      }
      await page.goto('/status/never');
      expect(await violations(page), 'missing status page').toEqual([]);
      await signIn(page, 'admin', '/status-pages');
      for (const path of ['/status-pages', `/status-pages/${slug}`, '/incidents']) {
        await page.goto(path);
        await page.getByRole('heading', { level: 1 }).waitFor();
        expect(await violations(page), path).toEqual([]);
      }
      const { id } = (await planned.json()) as { id: string };
      await admin.request.post(`${API}/maintenance/${id}/end`);
      const { incidents } = (await (await admin.request.get(`${API}/incidents?state=open`)).json()) as {
        incidents: { id: string }[];
      };
      for (const incident of incidents) {
        const data = { state: 'resolved', text: 'Over.' };
        await admin.request.post(`${API}/incidents/${incident.id}/updates`, { data });
      }
      await admin.close();
    });
  });
}
