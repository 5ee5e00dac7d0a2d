// Notification targets: an administrator adds a webhook by keyboard, tests it and redelivers a failed notification.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Locator, Page } from '@playwright/test';

import { expect, live, signIn, tabTo, test, violations } from './test';

const SECRET = '0123456789abcdef0123456789abcdef';
/** Browsers log rejected requests. */
const REFUSED = /status of 4\d\d/;

interface Receiver {
  url: string;
  /** Titles of the received notifications. */
  titles: string[];
  /** Status of the next responses. */
  status: number;
  close(): Promise<void>;
}

/** Starts a webhook receiver. */
async function startReceiver(): Promise<Receiver> {
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
const tableRow = (table: Locator, text: string) => table.getByRole('row').filter({ hasText: text });

/** Adds a webhook for a nonexistent cluster, so that it receives nothing but test notifications. */
async function addWebhook(page: Page, name: string, url: string): Promise<void> {
  await page.goto('/notifications?add=webhook#form');
  const form = page.locator('#form');
  await form.getByLabel('Name').fill(name);
  await form.getByLabel('URL').fill(url);
  await form.getByLabel('Signing secret').fill(SECRET);
  await form.getByLabel('Clusters').fill('elsewhere');
  await form.getByRole('button', { name: 'Add', exact: true }).click();
  await expect(tableRow(targets(page), name)).toBeVisible();
}

test.describe('with rejected requests', () => {
  test.use({ allowed: REFUSED });

  test('a target can be added by keyboard; errors are shown and input is kept', async ({ page }) => {
    const receiver = await startReceiver();
    await signIn(page, 'admin', '/notifications');
    await live(page);
    await tabTo(page, page.getByRole('main').getByRole('link', { name: 'Webhook' }));
    await page.keyboard.press('Enter');
    await expect(page.getByRole('heading', { name: 'New target: Webhook' })).toBeVisible();
    const form = page.locator('#form');
    await tabTo(page, form.getByLabel('Name'));
    await page.keyboard.type('pager');
    await tabTo(page, form.getByLabel('URL'));
    await page.keyboard.type(receiver.url);
    await tabTo(page, form.getByLabel('Signing secret'));
    await page.keyboard.type('short');
    await page.keyboard.press('Enter');
    await expect(page.getByRole('alert')).toContainText('16');
    await expect(form.getByLabel('URL')).toHaveValue(receiver.url);
    await form.getByLabel('Signing secret').focus();
    await page.keyboard.press('ControlOrMeta+A');
    await page.keyboard.type(SECRET);
    await page.keyboard.press('Enter');
    await expect(tableRow(targets(page), 'pager')).toContainText('127.0.0.1');
    await tabTo(page, tableRow(targets(page), 'pager').getByRole('button', { name: 'Send test' }));
    await page.keyboard.press('Enter');
    await expect(tableRow(deliveries(page), 'Test of')).toContainText('Delivered');
    expect(receiver.titles).toContain('Test of the notification target pager');
    // The secret is never shown.
    expect(await page.content()).not.toContain(SECRET);
    await receiver.close();
  });
});

test('a failed test notification is logged with the reason and can be redelivered', async ({ page }) => {
  const receiver = await startReceiver();
  receiver.status = 503;
  await signIn(page, 'admin', '/notifications');
  await addWebhook(page, 'flaky', receiver.url);
  await tableRow(targets(page), 'flaky').getByRole('button', { name: 'Send test' }).click();
  const failed = tableRow(deliveries(page), 'flaky').first();
  await expect(failed).toContainText('the receiver returned 503');
  await expect(failed).toContainText('not now');
  await expect(tableRow(targets(page), 'flaky')).toContainText('Failed');
  receiver.status = 200;
  await failed.getByRole('button', { name: 'Send again' }).click();
  await expect(page).toHaveURL(/\/notifications\?target=/);
  const redelivered = tableRow(deliveries(page), 'flaky').first();
  await expect(redelivered).toContainText('Delivered', { timeout: 75_000 });
  await expect(redelivered).toContainText('thank you');
  expect(receiver.titles).toHaveLength(2);
  expect(new Set(receiver.titles).size).toBe(1);
  await page.getByLabel('State').selectOption('failed');
  await page.getByRole('button', { name: 'Filter' }).click();
  await expect(page.getByText('No matching deliveries.')).toBeVisible();
  await receiver.close();
});

test.describe('without permission', () => {
  test.use({ allowed: /status of 403/ });

  test('an operator sees the targets but cannot change them; a viewer is rejected', async ({ browser, lab }) => {
    for (const [role, text] of [
      ['operator', 'Requires the admin role.'],
      ['viewer', /operator/],
    ] as const) {
      const context = await browser.newContext({ baseURL: lab.url });
      const page = await context.newPage();
      await signIn(page, role, '/notifications');
      await expect(page.getByRole('main')).toContainText(text);
      await expect(page.getByRole('main').getByRole('link', { name: 'Webhook' })).toHaveCount(0);
      await context.close();
    }
  });
});

for (const colorScheme of ['light', 'dark'] as const) {
  test.describe(`in ${colorScheme} mode`, () => {
    test.use({ colorScheme });

    test('targets, forms and the delivery log pass axe and fit a phone', async ({ page }) => {
      const receiver = await startReceiver();
      await signIn(page, 'admin', '/notifications');
      await addWebhook(page, `team-${colorScheme}`, `${receiver.url}/${'long'.repeat(20)}`);
      await tableRow(targets(page), `team-${colorScheme}`).getByRole('button', { name: 'Send test' }).click();
      await expect(tableRow(deliveries(page), `team-${colorScheme}`).first()).toContainText('Delivered');
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
