// From the link of a notification to the approved action, on a phone.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Page } from '@playwright/test';

import { approve, command, currentLab, expect, live, signIn, test, verdict, violations } from './test';

interface Notification {
  kind: string;
  approval_url?: string;
}

const requestsOf = (received: Notification[]) => received.filter((message) => message.kind === 'action_requested');

/** Starts a webhook receiver. */
async function startReceiver(): Promise<{ url: string; received: Notification[]; close: () => void }> {
  const received: Notification[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (data: Buffer) => (body += data.toString()));
    request.on('end', () => {
      received.push(JSON.parse(body) as Notification);
      response.writeHead(200).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
  return { url, received, close: () => server.close() };
}

async function addWebhook(page: Page, url: string): Promise<void> {
  await signIn(page, 'admin', '/notifications?add=webhook#form');
  const form = page.locator('#form');
  await form.getByLabel('Name').fill('phone');
  await form.getByLabel('URL').fill(url);
  await form.getByLabel('Signing secret').fill('0123456789abcdef0123456789abcdef');
  await form.getByRole('button', { name: 'Add', exact: true }).click();
  await expect(page.getByRole('table', { name: 'Notification targets' })).toContainText('phone');
}

/** Requests a bootstrap after two of three nodes were lost. */
async function request(page: Page): Promise<void> {
  await signIn(page, 'operator', '/clusters/lab/recovery');
  await live(page);
  await command('kill n2');
  await command('kill n3');
  await expect(verdict(page)).toHaveText('No Primary', { timeout: 60_000 });
  const update = page.getByRole('button', { name: 'Update plan' });
  await update.waitFor();
  for (const node of ['127.0.0.2', '127.0.0.3']) {
    const select = page.getByRole('combobox', { name: `Confirm the state of ${node}`, exact: true });
    if (await select.count()) await select.selectOption('stopped');
  }
  await update.click();
  await live(page);
  const button = page.locator('#bootstrap').getByRole('button', { name: 'Request bootstrap' });
  await expect(button).toBeEnabled({ timeout: 270_000 });
  const form = page.locator('#request-bootstrap-form');
  await form.getByLabel(/^Type lab to confirm/).fill('lab');
  await form.getByLabel(/^Reason/).fill('two of three are lost');
  await button.click();
  await expect(page).toHaveURL(/\/actions\//);
}

/** The page passes axe and fits the phone, in both color schemes. */
async function checkPage(page: Page, what: string): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme });
    expect(await violations(page), `${what}, ${colorScheme}`).toEqual([]);
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), what).toBeLessThanOrEqual(0);
  }
}

test.use({ allowed: /status of 4\d\d/ });

test('the link of a notification leads an approver to the request once', async ({ browser, page }) => {
  test.setTimeout(720_000);
  const lab = currentLab();
  const receiver = await startReceiver();
  await command(`console restart --approval-links on --public-url ${lab.url}`);
  try {
    await addWebhook(page, receiver.url);
    const requester = await (await browser.newContext({ baseURL: lab.url })).newPage();
    await request(requester);
    await expect.poll(() => requestsOf(receiver.received).length, { timeout: 60_000 }).toBe(1);
    const link = requestsOf(receiver.received)[0]?.approval_url ?? '';
    expect(link).toContain(`${lab.url}/approve/`);
    // The preview of a chat service.
    expect((await fetch(link, { redirect: 'manual' })).status).toBe(303);

    const phone = await (await browser.newContext({ viewport: { width: 360, height: 740 }, baseURL: lab.url })).newPage();
    await phone.goto(link);
    await expect(phone).toHaveURL(/\/sign-in\?next=\/approve\//);
    await phone.getByLabel('Name').fill(lab.users.approver!.name);
    await phone.getByLabel('Password').fill(lab.users.approver!.password);
    await phone.getByRole('button', { name: 'Sign in' }).click();
    await expect(phone.getByRole('heading', { level: 1 })).toHaveText('Bootstrap of lab is waiting for approval');
    await expect(phone.getByRole('main')).toContainText('two of three are lost');
    await checkPage(phone, 'the page of the link');
    await phone.getByRole('button', { name: 'Open the request' }).click();
    await expect(phone).toHaveURL(/\/actions\//);
    await expect(phone.getByRole('main')).toContainText('opened by the link of the notification to phone');
    await checkPage(phone, 'the action');
    await approve(phone);
    await expect(phone.locator('.name-and-verdict')).toContainText('Succeeded', { timeout: 180_000 });

    await phone.goto(link);
    await expect(phone.getByRole('main')).toContainText('its state is succeeded');
    await checkPage(phone, 'the refusal');
    await phone.getByRole('link', { name: 'Open the request' }).click();
    await expect(phone).toHaveURL(/\/actions\//);
  } finally {
    await command('console restart');
    receiver.close();
  }
});
