// The status page that a team shares: an outsider watches, an operator tells, an administrator shares.
import type { APIRequestContext, Page } from '@playwright/test';

import { API, as, makePage } from './status';
import { command, expect, live, mark, signIn, stage, test, violations } from './test';

/** The browser notes refused requests by itself. */
const REFUSED = /status of 4\d\d/;

/** A secret link to a new page. */
async function makeLink(admin: APIRequestContext): Promise<string> {
  const slug = await makePage(admin, 'link');
  const answer = await admin.post(`${API}/pages/${slug}/links`, { data: { label: 'An outsider' } });
  expect(answer.status(), await answer.text()).toBe(201);
  const path = new URL(((await answer.json()) as { url: string }).url).pathname;
  await expect(async () => expect((await admin.get(path)).status()).toBe(200)).toPass();
  return path;
}

const overall = (page: Page) => page.locator('.overall');

test('an outsider opens a secret link and sees a change without reloading', async ({ browser, page }) => {
  const admin = await as(browser, 'admin');
  await page.goto(await makeLink(admin.request));
  await expect(overall(page)).toHaveText('All systems operational');
  const stayed = await mark(page);
  // What the reader chose stays chosen while the page changes around it.
  const days = page.getByRole('radio');
  await days.nth(80).check({ force: true });
  await command('kill n3');
  await expect(overall(page)).toHaveText('The database is degraded, but working');
  await expect(page).toHaveTitle(/degraded/);
  await command('repair');
  await expect(overall(page)).toHaveText('All systems operational', { timeout: 30_000 });
  expect(await stayed()).toBe(true);
  await expect(days.nth(80)).toBeChecked();
  const text = await page.content();
  for (const secret of ['127.0.0.', 'n3', '"lab"', '>lab<']) expect(text).not.toContain(secret);
  await admin.close();
});

test.describe('when the connection goes', () => {
  test.use({ allowed: /Failed to load resource|net::ERR_/ });

  test('the page says so, and goes on when it is back', async ({ browser, page }) => {
    const admin = await as(browser, 'admin');
    await page.route('**/events', (route) => route.abort());
    await page.goto(`/status/${await makePage(admin.request, 'public')}`);
    await expect(page.locator('#age')).toContainText('the connection is lost');
    await page.unroute('**/events');
    await expect(page.locator('#age')).toHaveText(/^, \d+ s ago$/, { timeout: 20_000 });
    await admin.close();
  });
});

test.describe('without script', () => {
  test.use({ javaScriptEnabled: false });

  test('the same page is right after a reload', async ({ browser, page }) => {
    const admin = await as(browser, 'admin');
    await page.goto(await makeLink(admin.request));
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
    }).toPass({ timeout: 30_000 });
    await admin.close();
  });

  test('the numbers of a day are had with the keyboard', async ({ browser, page }) => {
    const admin = await as(browser, 'admin');
    await page.goto(`/status/${await makePage(admin.request, 'public')}`);
    const today = page.getByRole('radio', { checked: true });
    const shown = page.locator('.days input:checked + span');
    await expect(page.getByRole('radio')).toHaveCount(90);
    await expect(shown).toBeVisible();
    await page.keyboard.press('Tab');
    await expect(today).toBeFocused();
    const before = await shown.innerText();
    await page.keyboard.press('ArrowLeft');
    await expect(shown).not.toHaveText(before);
    await expect(shown).toHaveText(/^\d{4}-\d\d-\d\d: /);
    // One stop of the keyboard for all ninety days.
    await page.keyboard.press('Tab');
    await expect(page.getByRole('link', { name: 'Atom feed' })).toBeFocused();
    await admin.close();
  });
});

test('an operator opens an incident, tells what is new, and resolves it', async ({ browser, page }) => {
  const admin = await as(browser, 'admin');
  const outside = await (await browser.newContext({ baseURL: stage().url })).newPage();
  await outside.goto(`/status/${await makePage(admin.request, 'public')}`);
  await signIn(page, 'operator', '/incidents');
  await live(page);
  const form = page.locator('#new form');
  await form.getByRole('checkbox', { name: 'lab' }).check();
  await form.getByLabel('Title').fill('Slow <b>writes</b>');
  await form.getByLabel('What readers should know').fill('We look into it.\n<script>alert(1)</script>');
  await form.getByRole('button', { name: 'Open the incident' }).click();
  const open = page.locator('#open article').filter({ hasText: 'Slow <b>writes</b>' });
  await expect(open).toContainText('Investigating');
  await expect(outside.getByRole('heading', { name: 'Slow <b>writes</b>' })).toBeVisible();
  await expect(outside.getByText('<script>alert(1)</script>')).toBeVisible();
  await live(page);
  await open.getByLabel('How far it is').selectOption('resolved');
  await open.getByLabel('What is new').fill('It was the disk.');
  await open.getByRole('button', { name: 'Tell it' }).click();
  await expect(page.locator('#past')).toContainText('It was the disk.');
  await expect(outside.getByRole('heading', { name: 'Current incidents' })).toHaveCount(0);
  await outside.locator('summary').first().click();
  await expect(outside.getByText('It was the disk.')).toBeVisible();
  await outside.context().close();
  await admin.close();
});

test('an administrator makes a page and a link, and ends both', async ({ browser, page, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await signIn(page, 'admin', '/status-pages');
  await live(page);
  const slug = `made-${Date.now().toString(36)}`;
  const form = page.locator('#new form');
  await form.getByLabel(/^Slug/).fill(slug);
  await form.getByLabel('Title').fill('Made by hand');
  await form.getByLabel('Shown to').selectOption('link');
  await form.getByRole('button', { name: 'Make the page' }).click();
  await expect(page).toHaveURL(new RegExp(`/status-pages/${slug}$`));
  await live(page);
  await page.getByLabel('Whom it is for').fill('A partner');
  await page.getByRole('button', { name: 'Make a link' }).click();
  const fresh = page.locator('#fresh');
  await expect(fresh.getByRole('img', { name: 'QR code' })).toBeVisible();
  const link = await fresh.getByRole('link').innerText();
  const outside = await (await browser.newContext()).newPage();
  await outside.goto(link);
  await expect(overall(outside)).toBeVisible();
  await page.getByRole('button', { name: 'Copy a link to this page' }).click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(page.url());
  await live(page);
  await page.getByRole('button', { name: 'Revoke' }).click();
  await expect(page.locator('#links')).toContainText('revoked');
  await expect(outside.getByRole('heading', { name: 'No status page here' })).toBeVisible({ timeout: 20_000 });
  await live(page);
  await page.getByLabel('Type the slug to confirm').fill(slug);
  await page.getByRole('button', { name: `Delete ${slug}` }).click();
  await expect(page).toHaveURL(/\/status-pages$/);
  await expect(page.getByText('Made by hand')).toHaveCount(0);
  await outside.context().close();
});

test('whoever may not change pages sees them, and why they may not', async ({ page }) => {
  await signIn(page, 'viewer', '/status-pages');
  await expect(page.getByRole('button', { name: 'Make the page' })).toBeDisabled();
  await expect(page.getByText('This needs the role admin.').first()).toBeVisible();
  await page.goto('/incidents');
  await expect(page.getByRole('button', { name: 'Open the incident' })).toBeDisabled();
  await expect(page.getByText('This needs the role operator.').first()).toBeVisible();
});

for (const scheme of ['light', 'dark'] as const) {
  test.describe(`in ${scheme} colours`, () => {
    test.use({ colorScheme: scheme, allowed: REFUSED });

    test('status pages and their console pages pass axe', async ({ browser, page }) => {
      test.setTimeout(120_000);
      const admin = await as(browser, 'admin');
      const slug = await makePage(admin.request, 'public', {
        show: { hosts: true, addresses: true, versions: true, positions: true },
      });
      const until = new Date(Date.now() + 3_600_000).toISOString();
      const clusters = [stage().cluster];
      const words = { title: 'A title', text: 'Some words.' };
      await admin.request.post(`${API}/incidents`, { data: { clusters, ...words } });
      const planned = await admin.request.post(`${API}/maintenance`, { data: { clusters, ...words, until } });
      await admin.request.post(`${API}/announcements`, { data: { ...words, pages: [slug] } });
      await page.goto(`/status/${slug}`);
      await expect(page.getByRole('heading', { name: 'Announcements' })).toBeVisible();
      for (const width of [360, 1280]) {
        await page.setViewportSize({ width, height: 800 });
        expect(await violations(page), `/status at ${width}`).toEqual([]);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        expect(overflow, `nothing runs out of a page of ${width}`).toBeLessThanOrEqual(0);
      }
      await page.goto('/status/never');
      expect(await violations(page), 'nowhere').toEqual([]);
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
