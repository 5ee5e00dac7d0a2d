// Two people revive a cluster: one asks, another approves, both see it happen.
import type { Browser, Page } from '@playwright/test';

import { command, expect, live, signIn, stage, test, verdict, violations } from './test';

const RECOVERY = '/clusters/lab/recovery';
/** The browser notes refused requests by itself. */
const REFUSED = /status of 4\d\d/;

async function as(browser: Browser, role: string, path: string): Promise<Page> {
  const context = await browser.newContext({ baseURL: stage().url });
  const page = await context.newPage();
  await signIn(page, role, path);
  await live(page);
  return page;
}

const plan = (page: Page) => page.locator('#bootstrap');
const requestButton = (page: Page) => plan(page).getByRole('button', { name: 'Request bootstrap' });

async function loseQuorum(page: Page): Promise<void> {
  await command('kill n2');
  await command('kill n3');
  await expect(verdict(page)).toHaveText('No Primary', { timeout: 10_000 });
}

/** Declares the killed members stopped and waits for a plan that can be requested. */
async function attest(page: Page): Promise<void> {
  for (const node of ['127.0.0.2', '127.0.0.3']) {
    const select = page.getByRole('combobox', { name: new RegExp(`^${node}\\b.* is$`) });
    if (await select.count()) await select.selectOption('stopped');
  }
  await page.getByRole('button', { name: 'Plan again with this' }).click();
  await live(page);
}

async function request(page: Page): Promise<void> {
  await expect(requestButton(page)).toBeEnabled({ timeout: 90_000 });
  const form = page.locator('#request-bootstrap-form');
  await form.getByLabel(/^Type lab to confirm/).fill('lab');
  await form.getByLabel(/^Reason/).fill('two of three are lost');
  await requestButton(page).click();
  await expect(page).toHaveURL(/\/actions\//);
}

test('when nothing is wrong there is nothing to recover, and it says so', async ({ page }) => {
  await signIn(page, 'operator', RECOVERY);
  await expect(plan(page)).toContainText(/n[123]|127\.0\.0\.[123]/);
  await expect(plan(page)).toContainText('Primary');
  await expect(requestButton(page)).toHaveCount(0);
});

test.describe('two people', () => {
  test.use({ allowed: REFUSED });

  test('an operator asks, an approver approves, both watch the cluster come back', async ({ browser }) => {
    test.setTimeout(240_000);
    const operator = await as(browser, 'operator', RECOVERY);
    const approver = await as(browser, 'approver', '/actions');
    await loseQuorum(operator);
    await attest(operator);
    await request(operator);
    await expect(operator.getByRole('button', { name: 'Approve and carry out' })).toBeDisabled();
    // The time left is counted down every second, without the server.
    const left = operator.getByRole('definition').locator('time[data-age=""]');
    await expect(left).toHaveText(/^\d+ min/);
    const then = await left.innerText();
    await expect(left).not.toHaveText(then, { timeout: 3_000 });

    await expect(approver.getByRole('link', { name: /^Actions\s*1/ })).toBeVisible();
    await approver.getByRole('link', { name: 'Bootstrap of lab' }).first().click();
    expect(await violations(approver)).toEqual([]);
    await approver.getByRole('button', { name: 'Approve and carry out' }).click();

    for (const page of [operator, approver]) {
      await expect(page.locator('.name-and-verdict')).toContainText('Succeeded', { timeout: 60_000 });
    }
    await operator.goto('/clusters/lab');
    await expect(verdict(operator)).toHaveText('Degraded', { timeout: 15_000 });
    await operator.goto('/audit');
    await expect(operator.getByRole('table')).toContainText('Action approved');
  });

  test('what changed since the request is not carried out', async ({ browser }) => {
    test.setTimeout(240_000);
    const operator = await as(browser, 'operator', RECOVERY);
    await loseQuorum(operator);
    await attest(operator);
    await request(operator);
    const address = new URL(operator.url()).pathname;
    await command('repair');
    const approver = await as(browser, 'approver', address);
    await approver.getByRole('button', { name: 'Approve and carry out' }).click();
    await expect(approver.locator('.name-and-verdict')).toContainText('Superseded', { timeout: 30_000 });
    await expect(operator.locator('.name-and-verdict')).toContainText('Superseded', { timeout: 30_000 });
  });

  test('the keyboard alone asks; a wrong name is refused with the reason and keeps what was typed', async ({ browser }) => {
    test.setTimeout(240_000);
    const page = await as(browser, 'operator', RECOVERY);
    await loseQuorum(page);
    await attest(page);
    await expect(requestButton(page)).toBeEnabled({ timeout: 90_000 });
    const form = page.locator('#request-bootstrap-form');
    const confirm = form.getByLabel(/^Type lab to confirm/);
    for (let presses = 0; presses < 80; presses++) {
      if (await confirm.evaluate((element) => element === document.activeElement)) break;
      await page.keyboard.press('Tab');
    }
    await page.keyboard.type('lib');
    await page.keyboard.press('Tab');
    await page.keyboard.type('two of three are lost');
    await page.keyboard.press('Enter');
    await expect(page.getByRole('alert')).toContainText('lab');
    await expect(confirm).toHaveValue('lib');
    await page.keyboard.press('Shift+Tab');
    await page.keyboard.type('lab');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await expect(page).toHaveURL(/\/actions\//);
    await expect(page.getByRole('button', { name: 'Withdraw' })).toBeVisible();
    await page.getByRole('button', { name: 'Withdraw' }).click();
    await expect(page.locator('.name-and-verdict')).toContainText('Cancelled');
  });

  test('whoever asked cannot approve, whatever else they may; another one can, by keyboard', async ({ browser }) => {
    test.setTimeout(240_000);
    const deputy = await as(browser, 'deputy', RECOVERY);
    await loseQuorum(deputy);
    await attest(deputy);
    await request(deputy);
    const approve = (page: Page) => page.getByRole('button', { name: 'Approve and carry out' });
    await expect(approve(deputy)).toBeDisabled();
    await expect(deputy.getByText('You requested it; somebody else must decide.').first()).toBeVisible();
    const approver = await as(browser, 'approver', new URL(deputy.url()).pathname);
    for (let presses = 0; presses < 80; presses++) {
      if (await approve(approver).evaluate((element) => element === document.activeElement)) break;
      await approver.keyboard.press('Tab');
    }
    await approver.keyboard.press('Enter');
    for (const page of [deputy, approver]) {
      await expect(page.locator('.name-and-verdict')).toContainText('Succeeded', { timeout: 60_000 });
    }
    expect(await violations(deputy)).toEqual([]);
  });

  test('what nobody approves in time expires before everybody’s eyes', async ({ browser }) => {
    test.setTimeout(240_000);
    await command('console restart --request-expiry 20s');
    try {
      const operator = await as(browser, 'operator', RECOVERY);
      await loseQuorum(operator);
      await attest(operator);
      await request(operator);
      const approver = await as(browser, 'approver', new URL(operator.url()).pathname);
      for (const page of [operator, approver]) {
        await expect(page.locator('.name-and-verdict')).toContainText('Expired', { timeout: 40_000 });
        await expect(page.getByText('not approved in time').first()).toBeVisible();
        await expect(page.getByRole('button', { name: 'Approve and carry out' })).toHaveCount(0);
      }
      expect(await violations(approver)).toEqual([]);
      await expect(approver.getByRole('link', { name: /^Actions\s*1/ })).toHaveCount(0);
    } finally {
      await command('console restart');
    }
  });

  test('a viewer sees the control, disabled, and why', async ({ browser }) => {
    test.setTimeout(180_000);
    const viewer = await as(browser, 'viewer', RECOVERY);
    await loseQuorum(viewer);
    await expect(requestButton(viewer)).toBeDisabled({ timeout: 30_000 });
    await expect(plan(viewer)).toContainText(/needs the role operator|Some checks do not pass/);
  });
});

test.describe('without JavaScript', () => {
  test.use({ javaScriptEnabled: false, allowed: REFUSED });

  test('recovery is switched off and on again, and everybody is told why', async ({ page }) => {
    await signIn(page, 'admin', RECOVERY);
    await page.locator('#switch-one-form').getByLabel(/^Reason/).fill('moving <b>house</b>');
    await page.getByRole('button', { name: 'Switch recovery off' }).click();
    await expect(page).toHaveURL(/\/clusters\/lab\/recovery$/);
    await expect(page.getByText('Recovery of this cluster is switched off')).toBeVisible();
    await expect(page.locator('.notice').first()).toContainText('moving <b>house</b>');
    await page.getByRole('button', { name: 'Switch recovery on again' }).click();
    await expect(page.getByText('Recovery of this cluster is switched off')).toHaveCount(0);
  });

  test('a refused form says why on a page of its own', async ({ page }) => {
    await signIn(page, 'operator', '/actions');
    await page.getByRole('button', { name: 'Switch recovery off' }).click();
    await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
    await expect(page.getByText(/reason/i).first()).toBeVisible();
    await page.getByRole('link', { name: 'Back' }).click();
    await expect(page).toHaveURL(/\/actions$/);
  });
});
