import { command, expect, live, openCluster, row, signIn, tabTo, test, verdict, violations } from './test';

const PAGES = [
  '/',
  '/clusters/lab',
  '/clusters/lab/registry',
  '/clusters/lab/series',
  '/clusters/lab/timeline',
  '/clusters/lab/findings',
  '/clusters/lab/stop-check?node=n1',
  '/clusters/lab/rolling-restart',
  '/clusters/lab/rolling-restart?since=2026-01-01T00:00:00Z',
  '/clusters/lab/recovery',
  '/clusters/lab/nodes/127.0.0.1',
  '/actions',
  '/account',
  '/audit',
  '/search?q=lab',
  '/help',
  '/clusters/nowhere',
  '/nowhere',
];
/** Browsers log 404 responses. */
const NOT_FOUND = /status of 404/;

for (const scheme of ['light', 'dark'] as const) {
  test.describe(`in ${scheme} mode`, () => {
    test.use({ colorScheme: scheme, allowed: NOT_FOUND });

    test('every page passes axe', async ({ page }) => {
      test.setTimeout(900_000);
      await page.goto('/sign-in?error=invalid_credentials');
      expect(await violations(page), '/sign-in').toEqual([]);
      await signIn(page);
      for (const path of PAGES) {
        await page.goto(path);
        await page.getByRole('heading', { level: 1 }).waitFor();
        expect(await violations(page), path).toEqual([]);
      }
    });

    test('the pages of an administrator pass axe, also on a phone', async ({ page }) => {
      await signIn(page, 'admin', '/accounts');
      for (const width of [1440, 390]) {
        await page.setViewportSize({ width, height: 844 });
        for (const path of ['/accounts', '/settings', '/notifications', '/status-pages', '/incidents']) {
          await page.goto(path);
          await page.getByRole('heading', { level: 1 }).waitFor();
          expect(await violations(page), path).toEqual([]);
          expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), path).toBeLessThanOrEqual(0);
        }
      }
    });

    test('a degraded cluster passes axe', async ({ page }) => {
      test.setTimeout(360_000);
      await openCluster(page);
      await command('kill n3');
      await expect(verdict(page)).toHaveText('Degraded');
      expect(await violations(page)).toEqual([]);
      await command('repair');
    });
  });
}

test('colors follow the system preference', async ({ page }) => {
  await page.goto('/sign-in');
  const ink = () => page.evaluate(() => getComputedStyle(document.body).color);
  await page.emulateMedia({ colorScheme: 'light' });
  const light = await ink();
  await page.emulateMedia({ colorScheme: 'dark' });
  expect(await ink()).not.toBe(light);
});

test.describe('on a phone', () => {
  test.use({ viewport: { width: 360, height: 740 }, allowed: NOT_FOUND });

  test('no page scrolls horizontally', async ({ page }) => {
    await command(`put /galera/lab/${'x'.repeat(300)}/wsrep_last_committed ${'y'.repeat(3000)}`);
    await signIn(page);
    for (const path of [...PAGES, '/sign-in']) {
      await page.goto(path);
      await page.getByRole('heading', { level: 1 }).waitFor();
      const [wide, width] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
      expect(wide, path).toBeLessThanOrEqual(width);
    }
    await page.goto('/clusters/lab');
    await live(page);
    await expect(row(page, 'n1')).toContainText('Synced');
    await command('repair');
  });
});

test.describe('without JavaScript', () => {
  test.use({ javaScriptEnabled: false });

  test('signing in, browsing and signing out work', async ({ page }) => {
    await signIn(page);
    await page.getByRole('link', { name: 'lab', exact: true }).first().click();
    await expect(verdict(page)).toHaveText('Healthy');
    for (const name of ['n1', 'n2', 'n3']) await expect(row(page, name)).toContainText('Synced');
    await page.getByRole('link', { name: 'Registry', exact: true }).click();
    await page.getByLabel('Filter').fill('wsrep_node_name');
    await page.getByRole('button', { name: 'Filter' }).click();
    await expect(page).toHaveURL(/\?q=wsrep_node_name/);
    const keys = page.getByRole('table', { name: /^Registry keys of lab/ }).getByRole('rowgroup').nth(1).getByRole('row');
    await expect(keys).toHaveCount(3);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await expect(page).toHaveURL(/\/sign-in/);
  });
});

test('signing in, opening a node and signing out work by keyboard', async ({ page, lab }) => {
  const user = lab.users.viewer;
  await page.goto('/');
  const tabToRole = (name: string | RegExp, role: 'link' | 'button' | 'textbox') =>
    tabTo(page, page.getByRole(role, { name, exact: typeof name === 'string' }).first());
  await tabToRole('Name', 'textbox');
  await page.keyboard.type(user.name);
  await tabToRole('Password', 'textbox');
  await page.keyboard.type(user.password);
  await page.keyboard.press('Enter');
  await live(page);

  await page.keyboard.press('Tab');
  await tabToRole('Skip to content', 'link');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('main')).toBeFocused();
  await tabToRole('lab', 'link');
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/\/clusters\/lab$/);
  await tabToRole('n3', 'link');
  const outline = await page.evaluate(() => {
    const style = getComputedStyle(document.activeElement as Element);
    return style.outlineStyle !== 'none' || style.boxShadow !== 'none';
  });
  expect(outline, 'the focus is visible').toBe(true);
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/\/nodes\//);
  await tabToRole('Sign out', 'button');
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/\/sign-in/);
});

test('responses carry security headers', async ({ page, request }) => {
  await signIn(page);
  const response = await page.goto('/clusters/lab');
  const headers = response?.headers() ?? {};
  const policy = headers['content-security-policy'] ?? '';
  expect(policy).toMatch(/default-src '(none|self)'/);
  expect(policy).toContain("frame-ancestors 'none'");
  expect(policy).toMatch(/script-src [^;]*'nonce-/);
  expect(policy).not.toMatch(/script-src [^;]*'unsafe-inline'/);
  expect(headers['x-content-type-options']).toBe('nosniff');
  expect(headers['referrer-policy']).toBeTruthy();
  expect(headers['cache-control']).toContain('no-store');
  const script = await page.locator('link[rel=modulepreload]').getAttribute('href');
  const asset = await request.get(script ?? '');
  expect(asset.headers()['cache-control']).toContain('immutable');
});
