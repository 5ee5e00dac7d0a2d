// What every page owes its reader: refusals at the field, trouble in title and icon, nothing that waits for etcd.
import type { Page } from '@playwright/test';

import { OFFLINE, command, currentLab, expect, live, openCluster, row, signIn, test, verdict, violations } from './test';

/** Browsers log rejected requests. */
const REFUSED = /status of (4\d\d|503)/;

/** The views of a cluster besides its nodes, with what is worth looking at. */
const TABS = [
  '/events',
  '/series',
  '/findings',
  '/registry',
  '/recovery',
  '/stop-check?node=n1&node=n2',
  '/rolling-restart',
  '/rolling-restart?since=2026-01-01T00:00:00Z',
];

const icon = (page: Page) => page.locator('link[rel=icon]');
const overflow = (page: Page) => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);

test.describe('refused forms', () => {
  test.use({ allowed: REFUSED, viewport: { width: 390, height: 844 } });

  test('a refusal stands at its field, has the focus, and goes when the field is corrected', async ({ page }) => {
    await signIn(page, 'operator', '/clusters/lab/recovery');
    await live(page);
    await page.getByRole('button', { name: 'Pause recovery' }).click();
    const field = page.locator('#switch-one-form').getByLabel(/^Reason/);
    await expect(field).toBeFocused();
    await expect(field).toBeInViewport();
    await expect(page.locator('#switch-one-form .field').getByRole('alert')).toContainText(/reason/i);
    await expect(field).toHaveAttribute('aria-invalid', 'true');
    expect(await violations(page)).toEqual([]);
    // Updates of the page keep it.
    await command('kill n3');
    await expect(verdict(page)).toHaveText('Degraded', { timeout: 60_000 });
    await expect(page.getByRole('alert')).toBeVisible();
    await field.fill('m');
    await expect(page.getByRole('alert')).toHaveCount(0);
    await expect(field).not.toHaveAttribute('aria-invalid');
  });

  test('names and lists that were typed are kept, secrets are not', async ({ page }) => {
    await signIn(page, 'admin', '/notifications?add=webhook');
    const form = page.locator('#form');
    await form.getByLabel('Name').fill('pager');
    await form.getByLabel('Clusters').fill('lab');
    await form.getByLabel('Signing secret').fill('0123456789abcdef0123456789abcdef');
    await page.goto('/audit');
    await page.goto('/notifications?add=webhook');
    await expect(form.getByLabel('Name')).toHaveValue('pager');
    await expect(form.getByLabel('Clusters')).toHaveValue('lab');
    await expect(form.getByLabel('Signing secret')).toHaveValue('');
  });

  test('an ended session says so, and what was typed is still there afterwards', async ({ page, context }) => {
    await signIn(page, 'operator', '/clusters/lab/recovery');
    await live(page);
    await page.locator('#switch-one-form').getByLabel(/^Reason/).fill('moving the racks');
    const other = await context.newPage();
    await other.goto('/');
    await other.getByRole('button', { name: 'Sign out' }).click();
    await expect(page).toHaveURL(/\/sign-in\?/);
    await expect(page.getByRole('alert')).toContainText('Your session has ended');
    const user = currentLab().users.operator;
    await page.getByLabel('Name').fill(user.name);
    await page.getByLabel('Password').fill(user.password);
    await page.getByRole('button', { name: 'Sign in' }).click();
    const next = page.getByRole('link', { name: 'Continue' });
    await next.or(page.getByRole('button', { name: 'Sign out' })).waitFor();
    if (await next.isVisible()) await next.click();
    const kept = page.locator('#switch-one-form').getByLabel(/^Reason/);
    await expect(kept).toHaveValue('moving the racks');
    // Also while other pages are shown, until the user signs out.
    await page.goto('/audit');
    await page.goto('/clusters/lab/recovery');
    await expect(kept).toHaveValue('moving the racks');
    await page.getByRole('button', { name: 'Sign out' }).click();
    await signIn(page, 'operator', '/clusters/lab/recovery');
    await expect(kept).toHaveValue('');
  });
});

test.describe('trouble', () => {
  test.use({ allowed: OFFLINE });

  test('title, icon and banner follow the worst verdict and lost updates on every page', async ({ page }) => {
    test.setTimeout(540_000);
    await signIn(page, 'viewer', '/audit');
    await live(page);
    await expect(icon(page)).toHaveAttribute('href', '/favicon.svg');
    await command('kill n3');
    await expect(icon(page)).toHaveAttribute('href', '/favicon-warn.svg', { timeout: 60_000 });
    await command('kill n2');
    await expect(page).toHaveTitle(/^No Primary: lab · Audit/, { timeout: 60_000 });
    await expect(icon(page)).toHaveAttribute('href', '/favicon-bad.svg');
    const alarm = page.getByRole('region', { name: 'Alerts and connection' });
    await expect(alarm).toContainText('No Primary');
    await alarm.getByRole('link', { name: 'lab' }).click();
    await expect(page).toHaveTitle(/^No Primary · lab/);
    await expect(alarm).toHaveCount(0);
    await command('console stop');
    await expect(page).toHaveTitle(/^Offline · /, { timeout: 60_000 });
    await expect(icon(page)).toHaveAttribute('href', '/favicon-off.svg');
    await command('console start');
    await expect(page).toHaveTitle(/^No Primary · lab/, { timeout: 90_000 });
    await expect(icon(page)).toHaveAttribute('href', '/favicon-bad.svg');
  });

  test('a page that could not be loaded is loaded when the console is back', async ({ page }) => {
    test.setTimeout(360_000);
    await openCluster(page);
    await command('console stop');
    await expect(page.getByText('Connection lost', { exact: true })).toBeVisible();
    await page.getByRole('link', { name: 'Incidents' }).click();
    await expect(page.getByRole('heading', { name: 'Console unreachable' })).toBeVisible();
    await command('console start');
    await expect(page.getByRole('heading', { level: 1, name: 'Incidents' })).toBeVisible({ timeout: 90_000 });
  });

  test('the pause between attempts to reconnect is at most four seconds', async ({ page }) => {
    test.setTimeout(360_000);
    await openCluster(page);
    await command('console stop');
    let longest = 0;
    const shown = new Set<string>();
    // The text changes every second, so that it is read without waiting for any form of it.
    const read = async () => {
      const texts = await page.locator('#lost').allInnerTexts();
      shown.add(`${page.url()} ${texts.join(' ')}`);
      longest = Math.max(longest, Number(/Next attempt in (\d+) s/.exec(texts.join(' '))?.[1] ?? 0));
      return longest >= 3 ? 'three seconds' : `at most ${longest} s: ${[...shown].slice(-4).join('; ')}`;
    };
    await expect.poll(read, { timeout: 120_000, intervals: [400] }).toBe('three seconds');
    expect(longest).toBeLessThanOrEqual(4);
    await command('console start');
    await expect(page.getByText('Connection lost', { exact: true })).toBeHidden({ timeout: 60_000 });
  });

  test('a node that is gone was in a state, it is not in it', async ({ page }) => {
    await openCluster(page);
    await command('kill n3');
    await expect(row(page, 'n3')).toContainText('Unreachable', { timeout: 60_000 });
    await expect(row(page, 'n3').getByText('was Synced').first()).toBeVisible();
  });
});

test.describe('without etcd', () => {
  test.use({ allowed: REFUSED });

  test('no page waits for it, and the list of actions appears when it is back', async ({ page }) => {
    test.setTimeout(540_000);
    await openCluster(page);
    await command('etcd kill');
    await expect(page.getByText(/Registry unreachable for/)).toBeVisible({ timeout: 60_000 });
    const node = '/clusters/lab/nodes/127.0.0.1';
    const pages = ['/', '/clusters/lab', ...TABS.map((tab) => `/clusters/lab${tab}`), node];
    for (const path of [...pages, '/actions', '/audit', '/account', '/incidents']) {
      await page.goto(path);
      await page.getByRole('heading', { level: 1 }).waitFor();
    }
    await page.goto('/clusters/lab/recovery');
    await expect(page.getByText('repair etcd first')).toBeVisible();
    await expect(page.getByRole('table', { name: 'Positions of the members' })).toContainText(/:\d+/);
    await page.goto(node);
    await expect(page.getByText('Registry keys cannot be read')).toBeVisible();
    await page.goto('/actions');
    await command('etcd start');
    await expect(page.getByRole('heading', { level: 1, name: 'Actions' })).toBeVisible({ timeout: 90_000 });
  });
});

test('the overview is searched and filtered in the URL', async ({ page }) => {
  await signIn(page, 'viewer', '/');
  await live(page);
  await page.getByRole('link', { name: /^1 Healthy/ }).click();
  await expect(page).toHaveURL(/\?verdict=healthy$/);
  await expect(page.getByRole('rowheader', { name: 'lab' })).toBeVisible();
  await page.goto('/?verdict=down');
  await expect(page.getByText('No matching clusters.')).toBeVisible();
  await page.goto('/?q=127.0.0.2');
  await expect(page.getByRole('rowheader', { name: 'lab' })).toBeVisible();
  await page.goto('/?q=elsewhere');
  await expect(page.getByText('No matching clusters.')).toBeVisible();
});

test('paused recovery is on the overview', async ({ page }) => {
  await signIn(page, 'admin', '/clusters/lab/recovery');
  await live(page);
  await page.locator('#switch-one-form').getByLabel(/^Reason/).fill('moving racks');
  await page.getByRole('button', { name: 'Pause recovery' }).click();
  await expect(page.getByText('Recovery paused for this cluster')).toBeVisible();
  await page.goto('/');
  await expect(page.getByText(/Recovery paused.*moving racks/)).toBeVisible();
  await page.goto('/clusters/lab/recovery');
  await live(page);
  await page.getByRole('button', { name: 'Resume recovery' }).click();
  await expect(page.getByText('Recovery paused for this cluster')).toHaveCount(0);
});

test('viewers meet no page that they may not open in the navigation', async ({ page }) => {
  await signIn(page, 'viewer');
  const links = page.getByRole('navigation', { name: 'Main' }).getByRole('link');
  const paths = await links.evaluateAll((all) => all.map((link) => link.getAttribute('href') ?? ''));
  expect(paths.length).toBeGreaterThan(2);
  for (const path of paths) expect((await page.goto(path))?.status(), path).toBe(200);
});

test('a theme is chosen for this browser, whatever the system prefers', async ({ page }) => {
  await page.emulateMedia({ colorScheme: 'light' });
  await signIn(page, 'viewer', '/account');
  await live(page);
  const scheme = () => page.evaluate(() => getComputedStyle(document.documentElement).colorScheme);
  await page.getByRole('button', { name: 'Dark' }).click();
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark');
  await live(page);
  expect(await scheme()).toBe('dark');
  await page.goto('/clusters/lab');
  expect(await scheme()).toBe('dark');
  expect(await violations(page)).toEqual([]);
  await page.goto('/account');
  await live(page);
  await page.getByRole('button', { name: 'Follow the system' }).click();
  await expect(page.locator('html')).not.toHaveAttribute('data-theme');
  await live(page);
  expect(await scheme()).toBe('light dark');
});

test('a page on the wall is large and has nothing to click', async ({ page }) => {
  await page.setViewportSize({ width: 1920, height: 1080 });
  await signIn(page);
  await page.goto('/clusters/lab?wall');
  await live(page);
  const size = await verdict(page).evaluate((element) => Number.parseFloat(getComputedStyle(element).fontSize));
  expect(size).toBeGreaterThan(30);
  const name = page.locator('.tile .name').first();
  await expect.poll(async () => (await name.boundingBox())?.height ?? 0).toBeGreaterThan(24);
  await expect(page.getByRole('button', { name: 'Sign out', exact: true })).toBeHidden();
  expect(await overflow(page)).toBeLessThanOrEqual(0);
});

test('going back returns to the position of the page', async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 844 });
  await openCluster(page, '/registry');
  await page.getByRole('table').waitFor();
  await page.evaluate(() => scrollTo(0, 900));
  const tabs = page.getByRole('navigation', { name: 'Views of the cluster' });
  await tabs.getByRole('link', { name: 'Events' }).dispatchEvent('click');
  await expect(page).toHaveURL(/events$/);
  await expect(page.getByRole('table', { name: 'Events, newest first' })).toBeVisible();
  await page.goBack();
  await expect.poll(() => page.evaluate(() => scrollY)).toBeGreaterThan(800);
});

test('the filter of the registry applies while typing and keeps the focus', async ({ page }) => {
  await openCluster(page, '/registry');
  const filter = page.getByLabel('Filter');
  await filter.pressSequentially('wsrep_node_name');
  await expect(page).toHaveURL(/\?q=wsrep_node_name$/);
  await expect(page.getByRole('table').locator('tbody tr')).toHaveCount(3);
  await expect(filter).toBeFocused();
  await expect(filter).toHaveValue('wsrep_node_name');
});

test.describe('narrow screens', () => {
  test.use({ allowed: /status of 404/ });

  for (const width of [320, 390]) {
    test(`no page scrolls sideways at ${width} pixels, and targets are large enough`, async ({ page }) => {
      test.setTimeout(720_000);
      await page.setViewportSize({ width, height: 844 });
      await signIn(page, 'admin');
      const cluster = ['', ...TABS, '/nodes/127.0.0.1'];
      const pages = ['/actions', '/incidents', '/notifications?add=webhook', '/audit', '/account', '/status-pages', '/status/never'];
      for (const path of [...cluster.map((below) => `/clusters/lab${below}`), ...pages, '/']) {
        await page.goto(path);
        await page.getByRole('heading', { level: 1 }).waitFor();
        expect(await overflow(page), path).toBeLessThanOrEqual(0);
        const small = await page.locator('nav a, button, summary, input[type=checkbox] + *').evaluateAll((all) =>
          all.filter((one) => {
            const { width, height } = one.getBoundingClientRect();
            return width > 0 && height < 23.5;
          }).map((one) => one.outerHTML.slice(0, 120)),
        );
        expect(small, path).toEqual([]);
      }
    });
  }
});

test.describe('addresses that lead nowhere', () => {
  test.use({ allowed: /status of 404/ });

  test('are one message with a way on, in the design of the other pages', async ({ page }) => {
    await signIn(page);
    for (const path of ['/clusters/nowhere', '/clusters/lab/nodes/nowhere', '/actions/nowhere', '/nowhere', '/status/nowhere']) {
      await page.goto(path);
      const main = page.getByRole('main');
      await expect(main.getByRole('heading', { level: 1 }), path).toHaveCount(1);
      await expect(main, path).toContainText(/not found|no status page|unknown/i);
      await expect(main, path).not.toContainText(/Loading|Waiting for/);
      const family = await main.evaluate((element) => getComputedStyle(element).fontFamily);
      expect(family, path).not.toMatch(/Times|^serif/);
      expect(await violations(page), path).toEqual([]);
    }
  });
});

test('a printed page keeps its tables as tables', async ({ page }) => {
  // The width of A4 paper.
  await page.setViewportSize({ width: 794, height: 1000 });
  await openCluster(page, '/stop-check?node=n1');
  await page.emulateMedia({ media: 'print' });
  const head = page.getByRole('columnheader', { name: 'Votes' });
  await expect(head).toBeVisible();
  expect((await head.boundingBox())?.height).toBeGreaterThan(5);
  await expect(page.getByRole('button', { name: 'Check' })).toBeHidden();
  // A heading of a form that is not printed.
  await page.goto('/clusters/lab/recovery');
  await expect(page.getByRole('heading', { name: 'Bootstrap' })).toBeVisible();
  await expect(page.getByRole('heading', { name: 'Recovery of this cluster' })).toBeHidden();
});

test('only the button begins a rolling restart, and its page is updated in place', async ({ page }) => {
  test.setTimeout(360_000);
  await openCluster(page, '/rolling-restart');
  await page.getByRole('button', { name: 'Begin restart' }).click();
  await expect(page).toHaveURL(/rolling-restart\?since=\d{4}-/);
  await expect(page.getByText(/^0 of 3 restarted since/)).toBeVisible();
  const address = page.url();
  await page.reload();
  expect(page.url()).toBe(address);
  await live(page);
  await page.evaluate(() => Object.assign(window, { kept: true }));
  await command('kill n3');
  const member = page.getByRole('table', { name: 'Members' }).getByRole('row').filter({ hasText: 'n3' }).last();
  await expect(member).toContainText('Waiting', { timeout: 90_000 });
  expect(await page.evaluate(() => 'kept' in window)).toBe(true);
});

test('the sides of a split brain are told apart and never added up', async ({ page }) => {
  test.setTimeout(540_000);
  await openCluster(page);
  await command('isolate n3');
  await expect(row(page, 'n3')).toContainText('Initialized', { timeout: 90_000 });
  await command('bootstrap n3');
  await expect(verdict(page)).toHaveText('Split brain', { timeout: 90_000 });
  await expect(page.locator('.tile.rival')).toHaveCount(3);
  await expect(page.locator('.tile.rival.other')).not.toHaveCount(0);
  await expect(page.locator('main .t-ok')).toHaveCount(0);
  await expect(page.getByRole('region', { name: 'Topology' })).toContainText(/side A n\d.*side B n\d/s);
  const figures = page.locator('.head .figures');
  await expect(figures).toContainText('side A');
  await expect(figures).toContainText('side B');
  await expect(page.getByRole('main')).not.toContainText(/expected members|\d+ behind/);
  await expect(row(page, 'n3')).toContainText(/side [AB]/);
  await expect(page.locator('#next-step')).toContainText('wsrep_reject_queries');
  expect(await violations(page)).toEqual([]);
  await page.goto('/');
  await expect(page.getByRole('row').filter({ hasText: 'lab' })).not.toContainText('3 / 3');
});

test.describe('what a browser may block or have wrong', () => {
  test('without WebAssembly the page is readable and says what is missing', async ({ page }) => {
    await page.addInitScript(() => Object.assign(globalThis, { WebAssembly: undefined }));
    await signIn(page, 'viewer', '/clusters/lab');
    await expect(row(page, 'n1')).toContainText('Synced');
    await expect(page.getByText('Live updates are off')).toBeInViewport();
    // Forms, search and the served part still work.
    await page.keyboard.press('Control+k');
    await page.keyboard.type('n2 lab');
    await expect(page.getByRole('dialog').locator('#results a')).toHaveCount(1);
  });

  test('without storage and WebSocket the page is readable and says what is missing', async ({ page }) => {
    await page.addInitScript(() => {
      const blocked = {
        get() {
          throw new DOMException('blocked', 'SecurityError');
        },
      };
      Object.defineProperty(globalThis, 'sessionStorage', blocked);
      Object.defineProperty(globalThis, 'localStorage', blocked);
      Object.assign(globalThis, {
        WebSocket: class {
          constructor() {
            throw new DOMException('blocked', 'SecurityError');
          }
        },
      });
    });
    await signIn(page, 'viewer', '/clusters/lab');
    await expect(row(page, 'n1')).toContainText('Synced');
    await expect(page.getByText('Connection lost', { exact: true })).toBeInViewport();
  });

  for (const [how, permission] of [['missing', undefined], ['refused', 'denied']]) {
    test(`with notifications ${how} the account page says so, and the rest works`, async ({ page }) => {
      await page.addInitScript((permission) => {
        if (permission) Object.defineProperty(Notification, 'permission', { get: () => permission });
        else delete (globalThis as { Notification?: unknown }).Notification;
      }, permission);
      await signIn(page, 'viewer', '/account');
      await live(page);
      await expect(page.locator('#display').getByRole('button', { name: 'Blocked by this browser' })).toBeDisabled();
      await page.getByRole('link', { name: 'Clusters', exact: true }).click();
      await live(page);
    });
  }

  for (const hours of [-5, 5]) {
    test(`with a clock ${hours} hours off, ages are right`, async ({ page }) => {
      await page.addInitScript((shift) => {
        const now = Date.now;
        Date.now = () => now() + shift;
      }, hours * 3_600_000);
      await openCluster(page);
      await expect(row(page, 'n1').getByText(/^\d+(\.\d)? s ago$/).first()).toBeVisible();
      await expect(row(page, 'n1')).not.toContainText(/\d h/);
      await expect(page.getByText('No updates')).toHaveCount(0);
      await expect(page.getByText('Live', { exact: true })).toBeVisible();
    });
  }
});
