// Search, help and keyboard shortcuts; choices of this browser: time zone, notifications.
import type { Page } from '@playwright/test';

import { OFFLINE, command, expect, live, openCluster, row, signIn, test, verdict, violations } from './test';

const dialog = (page: Page) => page.getByRole('dialog');

for (const scheme of ['light', 'dark'] as const) {
  test.describe(`search in ${scheme} mode`, () => {
    test.use({ colorScheme: scheme });

    test('a node is found and opened by keyboard alone', async ({ page }) => {
      await openCluster(page);
      await page.keyboard.press('Control+k');
      const input = dialog(page).getByRole('searchbox');
      await expect(input).toBeFocused();
      await expect(dialog(page).getByRole('link', { name: 'lab', exact: true })).toBeVisible();
      expect(await violations(page)).toEqual([]);
      await page.keyboard.type('n2 lab');
      const results = dialog(page).locator('#results a');
      await expect(results).toHaveCount(1);
      await page.keyboard.press('ArrowDown');
      await expect(results).toBeFocused();
      await page.keyboard.press('ArrowUp');
      await expect(input).toBeFocused();
      // The page behind it is not filtered.
      await expect(page).toHaveURL(/\/clusters\/lab$/);
      await page.keyboard.press('Enter');
      await expect(page).toHaveURL(/\/clusters\/lab\/nodes\//);
      await expect(page.getByRole('heading', { level: 1 })).toContainText('n2');
    });
  });
}

test('results that arrive late keep the keyboard in the dialog', async ({ page }) => {
  await openCluster(page);
  await page.keyboard.press('Control+k');
  const input = dialog(page).getByRole('searchbox');
  await expect(dialog(page).getByRole('link', { name: 'lab', exact: true })).toBeVisible();
  const results = dialog(page).locator('#results a');
  await input.fill('n2');
  await expect(results).toHaveCount(1);
  for (const query of ['n2 lab', 'n2 nowhere']) {
    const arrived = page.waitForResponse(/fragments.search/);
    await page.keyboard.press('ArrowDown');
    await expect(results).toBeFocused();
    // As if it had been typed before, and its answer were late.
    await input.evaluate((field: HTMLInputElement, text) => {
      field.value = text;
      field.dispatchEvent(new Event('input', { bubbles: true }));
    }, query);
    await arrived;
    await expect(query == 'n2 lab' ? results : input).toBeFocused();
    await page.keyboard.press('ArrowUp');
    await expect(input).toBeFocused();
  }
});

test('what is typed before the results have arrived is searched, and Enter opens what was typed', async ({ page }) => {
  await openCluster(page);
  let answer = () => {};
  let held = new Promise<void>((resolve) => (answer = resolve));
  await page.route('**/fragments/search*', async (route) => {
    await held;
    await route.continue();
  });
  await page.keyboard.press('Control+k');
  await page.keyboard.type('n2 lab');
  await page.keyboard.press('Enter');
  answer();
  await expect(page).toHaveURL(/\/clusters\/lab\/nodes\//);
  await expect(page.getByRole('heading', { level: 1 })).toContainText('n2');
  // The dialog is open and has results of nothing.
  await page.keyboard.press('Control+k');
  const input = dialog(page).getByRole('searchbox');
  await expect(dialog(page).locator('#results a').nth(1)).toBeVisible();
  held = new Promise<void>((resolve) => (answer = resolve));
  await input.pressSequentially('lab recovery');
  await page.keyboard.press('Enter');
  answer();
  await expect(page).toHaveURL(/\/clusters\/lab\/recovery$/);
});

test.describe('without a console', () => {
  test.use({ allowed: OFFLINE });

  test('search says so and opens nothing that was found before', async ({ page }) => {
    await openCluster(page);
    await page.keyboard.press('Control+k');
    await expect(dialog(page).locator('#results a').nth(1)).toBeVisible();
    await page.route('**/fragments/search*', (route) => route.abort());
    await page.keyboard.type('n2');
    await expect(dialog(page)).toContainText('unreachable');
    await expect(dialog(page).locator('#results a')).toHaveCount(0);
  });
});

test.describe('on a phone', () => {
  test.use({ viewport: { width: 390, height: 844 }, hasTouch: true });

  test('search opens from the navigation, fits, and closes', async ({ page }) => {
    await signIn(page);
    await page.getByRole('link', { name: 'Search', exact: true }).tap();
    await expect(dialog(page).getByRole('searchbox')).toBeFocused();
    expect(await violations(page)).toEqual([]);
    const box = await dialog(page).boundingBox();
    expect(box?.x).toBeGreaterThanOrEqual(0);
    expect((box?.x ?? 0) + (box?.width ?? 0)).toBeLessThanOrEqual(390);
    await dialog(page).getByRole('button', { name: 'Close' }).tap();
    await expect(dialog(page)).toHaveCount(0);
  });
});

test.describe('without scripts', () => {
  test.use({ javaScriptEnabled: false });

  test('search and help are pages', async ({ page }) => {
    await signIn(page);
    await page.getByRole('link', { name: 'Search', exact: true }).click();
    await page.getByRole('searchbox').fill('recovery');
    await page.getByRole('button', { name: 'Search' }).click();
    await page.getByRole('link', { name: 'lab / Recovery' }).click();
    await expect(page).toHaveURL(/\/clusters\/lab\/recovery$/);
    await page.getByRole('link', { name: 'Help', exact: true }).click();
    await expect(page.getByText('Incremental state transfer')).toBeVisible();
  });
});

test('shortcuts lead to pages, filters and help, and not while something is typed', async ({ page }) => {
  await signIn(page, 'viewer', '/clusters/lab/registry');
  await live(page);
  await page.keyboard.press('/');
  await expect(page.getByRole('main').getByRole('search').locator('input').first()).toBeFocused();
  await page.keyboard.type('gi?');
  await expect(page).toHaveURL(/q=gi/);
  await expect(dialog(page)).toHaveCount(0);
  await page.goto('/audit');
  await page.keyboard.press('?');
  await expect(dialog(page).getByRole('heading', { name: 'Keyboard shortcuts' })).toBeVisible();
  // A viewer may not open the notifications.
  await expect(dialog(page).locator('dt').filter({ hasText: /^ga$/ })).toHaveCount(1);
  await expect(dialog(page).locator('dt').filter({ hasText: /^gn$/ })).toHaveCount(0);
  expect(await violations(page)).toEqual([]);
  await page.keyboard.press('Escape');
  await expect(dialog(page)).toHaveCount(0);
  await page.keyboard.press('g');
  await page.keyboard.press('i');
  await expect(page).toHaveURL(/\/incidents$/);
  await page.goto('/clusters/lab/registry');
  await page.keyboard.press('g');
  await page.keyboard.press('t');
  await expect(page).toHaveURL(/\/clusters\/lab\/timeline$/);
});

test.describe('in New York', () => {
  test.use({ timezoneId: 'America/New_York' });

  test('times are UTC until the browser’s zone is chosen', async ({ page }) => {
    const tables = page.getByRole('main');
    const utc = /\d\d:\d\d:\d\d UTC/;
    await signIn(page, 'viewer', '/audit');
    await expect(tables).toContainText(utc);
    await page.goto('/account');
    await page.getByRole('button', { name: 'Time zone of the browser' }).click();
    await expect(page.getByRole('button', { name: 'Time zone of the browser' })).toHaveAttribute('aria-pressed', 'true');
    const zone = /\d\d:\d\d:\d\d GMT−[45]/;
    for (const path of ['/audit', '/clusters/lab/events', '/clusters/lab/timeline']) {
      await page.goto(path);
      await expect(tables, path).toContainText(zone);
      await expect(tables, path).not.toContainText(utc);
    }
    // What only looks like a time stays, and prevents no other one.
    const shown = await page.evaluate(() => {
      const text = document.createElement('p');
      document.querySelector('main')?.append(text);
      const { morph } = (globalThis as unknown as { page: { morph: (element: Element, html: string) => void } }).page;
      morph(text, '<p>2026-99-01 99:99:99 UTC, 12:00:00 UTC</p>');
      return text.textContent;
    });
    expect(shown).toMatch(/^2026-99-01 99:99:99 UTC, 0[78]:00:00 GMT/);
    // Live updates as well: a failing probe has its time in a sentence.
    await page.goto('/clusters/lab');
    await live(page);
    await command('kill n3');
    await expect(verdict(page)).toHaveText('Degraded', { timeout: 60_000 });
    await expect(row(page, 'n3')).toContainText('Unreachable', { timeout: 60_000 });
    await expect(page.getByText(/unreachable since/).first()).toContainText(zone);
    await page.goto('/account');
    await page.getByRole('button', { name: 'UTC', exact: true }).click();
    await expect(page.getByRole('button', { name: 'UTC', exact: true })).toHaveAttribute('aria-pressed', 'true');
    await page.goto('/audit');
    await expect(tables).toContainText(utc);
  });
});

test('the browser notifies of the worst status if that was chosen', async ({ page, context }) => {
  test.setTimeout(360_000);
  await context.grantPermissions(['notifications']);
  // Headless browsers show nothing; what would be shown is recorded.
  await page.addInitScript(() => {
    const shown: string[] = [];
    const record = class {
      static permission = 'granted';
      static requestPermission = async () => 'granted';
      constructor(title: string, options: { body: string }) {
        shown.push(`${title}: ${options.body}`);
      }
    };
    Object.assign(globalThis, { Notification: record, shown });
  });
  await signIn(page, 'viewer', '/account');
  await page.locator('#display').getByRole('button', { name: 'Turn on' }).click();
  await expect(page.locator('#display').getByRole('button', { name: 'Turn off' })).toBeVisible();
  await page.goto('/audit');
  await live(page);
  const shown = () => page.evaluate(() => (globalThis as unknown as { shown: string[] }).shown);
  expect(await shown()).toEqual([]);
  await command('kill n3');
  await command('kill n2');
  await expect.poll(shown, { timeout: 90_000 }).toContainEqual(expect.stringMatching(/^No Primary or worse: .*lab/s));
});

test('the browser notifies of a change that came between two pages, and of nothing that it did not report', async ({ page, context }) => {
  test.setTimeout(360_000);
  await context.grantPermissions(['notifications']);
  // Of all pages of the tab.
  const shown: string[] = [];
  await page.exposeFunction('recordShown', (title: string) => shown.push(title));
  await page.addInitScript(() => {
    const record = class {
      static permission = 'granted';
      static requestPermission = async () => 'granted';
      constructor(title: string) {
        (globalThis as unknown as { recordShown: (title: string) => void }).recordShown(title);
      }
    };
    Object.assign(globalThis, { Notification: record });
  });
  const worst = page.locator('[data-worst]');
  await signIn(page, 'viewer', '/account');
  await page.locator('#display').getByRole('button', { name: 'Turn on' }).click();
  await page.goto('/audit');
  await live(page);
  await expect(worst).toHaveAttribute('data-worst', '');
  await command('kill n3');
  await expect(worst).toHaveAttribute('data-worst', 'warn', { timeout: 60_000 });
  // The next page begins with what is known, also without the live channel.
  await page.goto('/incidents');
  await expect(worst).toHaveAttribute('data-worst', 'warn');
  await command('repair');
  await expect(worst).toHaveAttribute('data-worst', '', { timeout: 120_000 });
  expect(shown).toEqual([]);
  // While no page of the console is open in this tab.
  await page.goto('about:blank');
  await command('kill n3');
  await command('kill n2');
  await expect(async () => {
    await page.goto('/audit');
    await expect(worst).toHaveAttribute('data-worst', 'bad', { timeout: 1_000 });
  }).toPass({ timeout: 120_000 });
  await expect.poll(() => shown).toEqual(['No Primary or worse']);
  await page.goto('/incidents');
  await live(page);
  expect(shown).toEqual(['No Primary or worse']);
});

test('alerts move nothing on the page, and cover nothing that has the focus', async ({ page }) => {
  test.setTimeout(360_000);
  await signIn(page, 'viewer', '/audit');
  await live(page);
  const before = await page.getByRole('main').boundingBox();
  await command('kill n3');
  await command('kill n2');
  const alerts = page.getByRole('region', { name: 'Alerts and connection' });
  await expect(alerts).toBeInViewport({ timeout: 90_000 });
  expect((await page.getByRole('main').boundingBox())?.y).toBe(before?.y);
  const help = page.getByRole('link', { name: 'Help', exact: true });
  await help.focus();
  const [link, region] = [await help.boundingBox(), await alerts.boundingBox()];
  expect((link?.y ?? 0) + (link?.height ?? 0)).toBeLessThanOrEqual(region?.y ?? 0);
});
