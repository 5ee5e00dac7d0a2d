// The keyboard alone, enlarged text and reduced motion, on every page.
import type { Browser, Locator, Page } from '@playwright/test';

import { approveSummary, command, currentLab, expect, live, lostInPrint, tabTo, test, verdict } from './test';

/** Pages that an administrator can open. */
const PAGES = [
  '/',
  '/clusters/lab',
  '/clusters/lab/events',
  '/clusters/lab/series',
  '/clusters/lab/timeline',
  '/clusters/lab/findings',
  '/clusters/lab/registry',
  '/clusters/lab/recovery',
  '/clusters/lab/stop-check?node=n1&node=n2',
  '/clusters/lab/rolling-restart?since=2026-01-01T00:00:00Z',
  '/clusters/lab/nodes/127.0.0.1',
  '/actions',
  '/incidents',
  '/notifications?add=webhook',
  '/audit',
  '/account',
  '/accounts',
  '/settings',
  '/status-pages',
  '/search?q=lab',
  '/help',
];

/** A page of a new window that only its keyboard has signed in. */
async function signInByKeyboard(browser: Browser, role: string, path: string): Promise<Page> {
  const context = await browser.newContext({ baseURL: currentLab().url });
  const page = await context.newPage();
  const user = currentLab().users[role]!;
  await page.goto(path);
  await tabTo(page, page.getByLabel('Name'));
  await page.keyboard.type(user.name);
  await page.keyboard.press('Tab');
  await page.keyboard.type(user.password);
  await page.keyboard.press('Enter');
  // A device that the account does not know yet is shown first.
  const next = page.getByRole('link', { name: 'Continue' });
  await next.or(page.getByRole('button', { name: 'Sign out', exact: true })).waitFor();
  if (await next.isVisible()) await press(page, next);
  await live(page);
  return page;
}

/** Moves the focus to the control, which must show it, and presses Enter. */
async function press(page: Page, control: Locator): Promise<void> {
  await tabTo(page, control);
  expect(await isMarked(control), `the focus of ${control} is visible`).toBe(true);
  await page.keyboard.press('Enter');
}

const isMarked = (control: Locator) =>
  control.evaluate((element) => {
    const { outlineStyle, outlineWidth } = getComputedStyle(element);
    return outlineStyle !== 'none' && Number.parseFloat(outlineWidth) >= 1;
  });

test('from signing in to an approved bootstrap by keyboard alone', async ({ browser }) => {
  test.setTimeout(720_000);
  const operator = await signInByKeyboard(browser, 'operator', '/');
  await command('kill n2');
  await command('kill n3');
  const alerts = operator.getByRole('region', { name: 'Alerts and connection' });
  await press(operator, alerts.getByRole('link', { name: 'lab' }));
  await expect(verdict(operator)).toHaveText('No Primary', { timeout: 90_000 });
  const card = operator.locator('#next-step');
  const request = card.getByRole('button', { name: 'Request bootstrap' });
  await expect(request).toBeEnabled({ timeout: 270_000 });
  await tabTo(operator, card.getByRole('checkbox'));
  expect(await isMarked(card.getByRole('checkbox'))).toBe(true);
  await operator.keyboard.press('Space');
  await tabTo(operator, card.getByLabel(/^Type lab to confirm/));
  await operator.keyboard.type('lab');
  await press(operator, request);
  await expect(operator).toHaveURL(/\/actions\//);
  expect(await lostInPrint(operator), 'the request on paper').toEqual([]);

  const approver = await signInByKeyboard(browser, 'approver', '/audit');
  await approver.keyboard.press('g');
  await approver.keyboard.press('a');
  await expect(approver).toHaveURL(/\/actions$/);
  await press(approver, approver.getByRole('link', { name: 'Bootstrap of lab' }).first());
  await press(approver, approveSummary(approver));
  await press(approver, approver.getByRole('button', { name: 'Approve and execute' }));
  for (const page of [operator, approver]) {
    await expect(page.locator('.name-and-verdict')).toContainText('Succeeded', { timeout: 180_000 });
  }
  expect(await lostInPrint(approver), 'the action on paper').toEqual([]);
});

test('every control of every page shows its focus, and none traps it', async ({ browser }) => {
  test.setTimeout(720_000);
  const page = await signInByKeyboard(browser, 'admin', '/');
  for (const path of PAGES) {
    await page.goto(path);
    await page.getByRole('heading', { level: 1 }).waitFor();
    const seen = new Set<string>();
    for (let presses = 0; presses < 60; presses++) {
      await page.keyboard.press('Tab');
      const focused = await page.evaluate(() => {
        const element = document.activeElement as HTMLElement;
        if (element === document.body) return undefined;
        const { outlineStyle, outlineWidth } = getComputedStyle(element);
        const { top, bottom, height } = element.getBoundingClientRect();
        // Chromium marks the part of a date that has the focus, inside of the field.
        const isDate = element.matches('[type=datetime-local]');
        const isMarked = isDate || (outlineStyle !== 'none' && Number.parseFloat(outlineWidth) >= 1);
        const isInView = height === 0 || (bottom > 0 && top < innerHeight);
        const all = [...document.querySelectorAll('*')];
        return { key: String(all.indexOf(element)), isMarked, isInView, html: element.outerHTML.slice(0, 120) };
      });
      if (!focused) break;
      expect(focused, `${path}: ${focused.html}`).toMatchObject({ isMarked: true, isInView: true });
      seen.add(focused.key);
    }
    expect(seen.size, path).toBeGreaterThan(5);
  }
});

test.describe('enlarged to 200 %', () => {
  // A window of 1280 pixels has 640 of them left.
  test.use({ viewport: { width: 640, height: 360 }, deviceScaleFactor: 2 });

  test('every page fits', async ({ browser }) => {
    test.setTimeout(360_000);
    const page = await signInByKeyboard(browser, 'admin', '/');
    await page.setViewportSize({ width: 640, height: 360 });
    for (const path of PAGES) {
      await page.goto(path);
      await expect(page.getByRole('heading', { level: 1 })).toBeInViewport();
      expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), path).toBeLessThanOrEqual(0);
    }
  });
});

test('nothing moves but by a choice of the reader, so that reduced motion needs no other page', async ({ browser }) => {
  test.setTimeout(360_000);
  const page = await signInByKeyboard(browser, 'admin', '/');
  for (const path of PAGES) {
    await page.goto(path);
    await page.getByRole('heading', { level: 1 }).waitFor();
    const moving = await page.evaluate(() => {
      const isMoving = (one: Element) => {
        const { animationName, transitionDuration, scrollBehavior } = getComputedStyle(one);
        return animationName !== 'none' || !/^0s(, 0s)*$/.test(transitionDuration) || scrollBehavior === 'smooth';
      };
      const moving = [...document.querySelectorAll('*')].filter(isMoving);
      return [...moving, ...document.querySelectorAll('marquee, animate, video')].map((one) => one.outerHTML.slice(0, 100));
    });
    expect(moving, path).toEqual([]);
  }
});
