// Who is told what: an administrator adds a webhook by the keyboard, tries it, and sends again what did not arrive.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Locator, Page } from '@playwright/test';

import { expect, live, reach, signIn, test, violations } from './test';

const SECRET = '0123456789abcdef0123456789abcdef';
/** The browser notes refused requests by itself. */
const REFUSED = /status of 4\d\d/;

interface Receiver {
  url: string;
  /** The titles of what came. */
  titles: string[];
  /** What it answers, until told otherwise. */
  status: number;
  close(): Promise<void>;
}

/** Takes what webhooks are sent. */
async function receive(): Promise<Receiver> {
  const receiver: Receiver = { url: '', titles: [], status: 200, close: async () => {} };
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (data: Buffer) => (body += data.toString()));
    request.on('end', () => {
      receiver.titles.push((JSON.parse(body) as { title: string }).title);
      response.writeHead(receiver.status).end(receiver.status === 200 ? 'thank you' : 'not now');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  receiver.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
  receiver.close = () => new Promise((resolve) => server.close(() => resolve()));
  return receiver;
}

const targets = (page: Page) => page.getByRole('table', { name: 'Notification targets' });
const deliveries = (page: Page) => page.getByRole('table', { name: 'Deliveries, newest first' });
const line = (table: Locator, text: string) => table.getByRole('row').filter({ hasText: text });

/** Adds a webhook by its form; of a cluster that is not there it is told nothing but what its button sends. */
async function add(page: Page, name: string, url: string): Promise<void> {
  await page.goto('/notifications?add=webhook#form');
  const form = page.locator('#form');
  await form.getByLabel('Name').fill(name);
  await form.getByLabel('Address').fill(url);
  await form.getByLabel('Secret that signs').fill(SECRET);
  await form.getByLabel('Clusters').fill('elsewhere');
  await form.getByRole('button', { name: 'Add', exact: true }).click();
  await expect(line(targets(page), name)).toBeVisible();
}

test.describe('with refusals on purpose', () => {
  test.use({ allowed: REFUSED });

  test('the keyboard alone adds a target; what is wrong is said and what was typed stays', async ({ page }) => {
    const receiver = await receive();
    await signIn(page, 'admin', '/notifications');
    await live(page);
    await reach(page, page.getByRole('main').getByRole('link', { name: 'Webhook' }));
    await page.keyboard.press('Enter');
    await expect(page.getByRole('heading', { name: 'New target: Webhook' })).toBeVisible();
    const form = page.locator('#form');
    await reach(page, form.getByLabel('Name'));
    await page.keyboard.type('pager');
    await reach(page, form.getByLabel('Address'));
    await page.keyboard.type(receiver.url);
    await reach(page, form.getByLabel('Secret that signs'));
    await page.keyboard.type('short');
    await page.keyboard.press('Enter');
    await expect(page.getByRole('alert')).toContainText('16');
    await expect(form.getByLabel('Address')).toHaveValue(receiver.url);
    await form.getByLabel('Secret that signs').focus();
    await page.keyboard.press('ControlOrMeta+A');
    await page.keyboard.type(SECRET);
    await page.keyboard.press('Enter');
    await expect(line(targets(page), 'pager')).toContainText('127.0.0.1');
    await reach(page, line(targets(page), 'pager').getByRole('button', { name: 'Send a test' }));
    await page.keyboard.press('Enter');
    await expect(line(deliveries(page), 'Test of')).toContainText('Delivered');
    expect(receiver.titles).toContain('Test of the notification target pager');
    // The secret is nowhere.
    expect(await page.content()).not.toContain(SECRET);
    await receiver.close();
  });
});

test('a test that fails says why, stands in the log and is sent again', async ({ page }) => {
  const receiver = await receive();
  receiver.status = 503;
  await signIn(page, 'admin', '/notifications');
  await add(page, 'flaky', receiver.url);
  await line(targets(page), 'flaky').getByRole('button', { name: 'Send a test' }).click();
  const failed = line(deliveries(page), 'flaky').first();
  await expect(failed).toContainText('the receiver returned 503');
  await expect(failed).toContainText('not now');
  await expect(line(targets(page), 'flaky')).toContainText('Failed');
  receiver.status = 200;
  await failed.getByRole('button', { name: 'Send again' }).click();
  await expect(page).toHaveURL(/\/notifications\?target=/);
  const again = line(deliveries(page), 'flaky').first();
  await expect(again).toContainText('Delivered', { timeout: 25_000 });
  await expect(again).toContainText('thank you');
  expect(receiver.titles).toHaveLength(2);
  expect(new Set(receiver.titles).size).toBe(1);
  await page.getByLabel('State').selectOption('failed');
  await page.getByRole('button', { name: 'Filter' }).click();
  await expect(page.getByText('No delivery matches.')).toBeVisible();
  await receiver.close();
});

test.describe('who may not', () => {
  test.use({ allowed: /status of 403/ });

  test('an operator sees targets and is told what is missing; a viewer is told that it is not theirs', async ({ browser, stage }) => {
    for (const [role, words] of [
      ['operator', 'This needs the role admin.'],
      ['viewer', /operator/],
    ] as const) {
      const context = await browser.newContext({ baseURL: stage.url });
      const page = await context.newPage();
      await signIn(page, role, '/notifications');
      await expect(page.getByRole('main')).toContainText(words);
      await expect(page.getByRole('main').getByRole('link', { name: 'Webhook' })).toHaveCount(0);
      await context.close();
    }
  });
});

for (const colorScheme of ['light', 'dark'] as const) {
  test.describe(`in ${colorScheme} colours`, () => {
    test.use({ colorScheme });

    test('targets, a form and the log pass axe and fit a phone', async ({ page }) => {
      const receiver = await receive();
      await signIn(page, 'admin', '/notifications');
      await add(page, `team-${colorScheme}`, `${receiver.url}/${'long'.repeat(20)}`);
      await line(targets(page), `team-${colorScheme}`).getByRole('button', { name: 'Send a test' }).click();
      await expect(line(deliveries(page), `team-${colorScheme}`).first()).toContainText('Delivered');
      for (const path of ['/notifications', '/notifications?add=webhook', '/notifications?add=email', '/notifications?add=slack']) {
        await page.setViewportSize({ width: 1280, height: 800 });
        await page.goto(path);
        await page.getByRole('heading', { level: 1 }).waitFor();
        expect(await violations(page), path).toEqual([]);
        await page.setViewportSize({ width: 360, height: 740 });
        const [wide, width] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
        expect(wide, path).toBeLessThanOrEqual(width);
      }
      await receiver.close();
    });
  });
}
