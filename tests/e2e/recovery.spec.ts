// Two people recover a cluster: one requests the action, the other approves it, both watch it run.
import type { Browser, Page } from '@playwright/test';

import { approve, approveSummary, command, currentLab, expect, live, signIn, tabTo, test, verdict, violations } from './test';

const RECOVERY = '/clusters/lab/recovery';
/** Browsers log rejected requests. */
const REFUSED = /status of 4\d\d/;

async function openAs(browser: Browser, role: string, path: string): Promise<Page> {
  const context = await browser.newContext({ baseURL: currentLab().url });
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
  await expect(verdict(page)).toHaveText('No Primary', { timeout: 60_000 });
}

/** Confirms the killed members as stopped and updates the plan. */
async function attest(page: Page): Promise<void> {
  // The plan follows the verdict.
  const update = page.getByRole('button', { name: 'Update plan' });
  await update.waitFor();
  for (const node of ['127.0.0.2', '127.0.0.3']) {
    const select = page.getByRole('combobox', { name: `Confirm the state of ${node}`, exact: true });
    if (await select.count()) await select.selectOption('stopped');
  }
  await update.click();
  await live(page);
}

async function request(page: Page): Promise<void> {
  await expect(requestButton(page)).toBeEnabled({ timeout: 270_000 });
  const form = page.locator('#request-bootstrap-form');
  await form.getByLabel(/^Type lab to confirm/).fill('lab');
  await form.getByLabel(/^Reason/).fill('two of three are lost');
  await requestButton(page).click();
  await expect(page).toHaveURL(/\/actions\//);
}

test('a healthy cluster offers nothing to recover', async ({ page }) => {
  await signIn(page, 'operator', RECOVERY);
  await expect(plan(page)).toContainText(/n[123]|127\.0\.0\.[123]/);
  await expect(plan(page)).toContainText('Primary');
  await expect(requestButton(page)).toHaveCount(0);
});

test.describe('two people', () => {
  test.use({ allowed: REFUSED });

  test('an operator requests, an approver approves, both watch the cluster recover', async ({ browser }) => {
    test.setTimeout(720_000);
    const operator = await openAs(browser, 'operator', RECOVERY);
    const approver = await openAs(browser, 'approver', '/actions');
    await loseQuorum(operator);
    await attest(operator);
    await request(operator);
    await expect(operator.getByRole('button', { name: 'Approve and execute' })).toBeDisabled();
    // The browser counts the remaining time down.
    const remaining = operator.getByRole('definition').locator('time[data-age="in"]');
    await expect(remaining).toHaveText(/^\d+ min/);
    const before = await remaining.innerText();
    await expect(remaining).not.toHaveText(before, { timeout: 30_000 });

    await expect(approver.getByRole('link', { name: /^Actions\s*1/ })).toBeVisible();
    await approver.getByRole('link', { name: 'Bootstrap of lab' }).first().click();
    expect(await violations(approver)).toEqual([]);
    const confirm = approver.getByRole('button', { name: 'Approve and execute' });
    // One tap decides nothing: the button comes after it, with what it does.
    await expect(confirm).toBeHidden();
    await approver.setViewportSize({ width: 320, height: 700 });
    await approveSummary(approver).click();
    await expect(approver.locator('#decide-approve')).toContainText('The requested plan for lab is executed as soon as you approve it.');
    for (const target of [approveSummary(approver), confirm]) {
      expect((await target.boundingBox())?.height).toBeGreaterThanOrEqual(44);
    }
    expect(await approver.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)).toBeLessThanOrEqual(0);
    expect(await violations(approver)).toEqual([]);
    await expect(approver.locator('.name-and-verdict')).toContainText('Waiting for approval');
    await confirm.click();

    for (const page of [operator, approver]) {
      await expect(page.locator('.name-and-verdict')).toContainText('Succeeded', { timeout: 180_000 });
    }
    await operator.goto('/clusters/lab');
    await expect(verdict(operator)).toHaveText('Degraded', { timeout: 60_000 });
    await operator.goto('/audit');
    await expect(operator.getByRole('table')).toContainText('Action approved');
  });

  test('three interactions on the cluster page request the bootstrap of a survivor', async ({ browser }) => {
    test.setTimeout(720_000);
    const page = await openAs(browser, 'operator', '/clusters/lab');
    await expect(page.locator('#quorum')).toContainText('3 of 3 votes; one member can fail');
    await loseQuorum(page);
    const card = page.locator('#next-step');
    const button = card.getByRole('button', { name: 'Request bootstrap' });
    await expect(button).toBeEnabled({ timeout: 270_000 });
    await expect(page.locator('#quorum')).toContainText('1 of 3 votes in sight');
    await expect(card).toContainText('Possible data loss');
    expect(await violations(page)).toEqual([]);
    await page.setViewportSize({ width: 390, height: 844 });
    const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    expect(await overflow()).toBeLessThanOrEqual(0);

    let interactions = 0;
    const interact = async (what: Promise<void>) => {
      await what;
      interactions += 1;
    };
    await interact(card.getByRole('checkbox').check());
    await interact(card.getByLabel(/^Type lab to confirm/).fill('lab'));
    await interact(button.click());
    await expect(page).toHaveURL(/\/actions\//);
    expect(interactions).toBeLessThanOrEqual(4);
    await expect(page.locator('.name-and-verdict')).toContainText('Waiting for approval');
    await expect(page.getByText('No Primary since').first()).toBeVisible();
    await expect(page.getByText(/^127\.0\.0\.[23] is stopped$/).first()).toBeVisible();

    await page.goto('/clusters/lab');
    await expect(page.locator('#next-step')).toContainText('Bootstrap requested by');
    await page.getByRole('link', { name: 'Follow it' }).or(page.getByRole('link', { name: 'Review and decide' })).click();
    await page.getByRole('button', { name: 'Withdraw' }).click();
    await expect(page.locator('.name-and-verdict')).toContainText('Cancelled');
  });

  test('nothing is requested from the card unless the box is ticked', async ({ browser }) => {
    test.setTimeout(540_000);
    const page = await openAs(browser, 'operator', '/clusters/lab');
    await loseQuorum(page);
    const card = page.locator('#next-step');
    const button = card.getByRole('button', { name: 'Request bootstrap' });
    await expect(button).toBeEnabled({ timeout: 270_000 });
    await card.getByLabel(/^Type lab to confirm/).fill('lab');
    await button.click();
    await expect(card.getByRole('checkbox')).toBeFocused();
    await expect(page).toHaveURL(/\/clusters\/lab$/);
  });

  test('an action is superseded if the cluster changed after the request', async ({ browser }) => {
    test.setTimeout(720_000);
    const operator = await openAs(browser, 'operator', RECOVERY);
    await loseQuorum(operator);
    await attest(operator);
    await request(operator);
    const path = new URL(operator.url()).pathname;
    await command('repair');
    const approver = await openAs(browser, 'approver', path);
    // The approver sees what changed before the button.
    const changes = approver.locator('#changes');
    const decision = approveSummary(approver);
    await expect(changes).toContainText('No Primary exists: was pass, now fail');
    const top = async (one: typeof decision) => (await one.boundingBox())?.y ?? 0;
    expect(await top(changes)).toBeLessThan(await top(decision));
    expect(await top(approver.getByText('Possible data loss').first())).toBeLessThan(await top(decision));
    expect(await top(approver.getByText(/^127\.0\.0\.[23] is stopped$/).first())).toBeLessThan(await top(decision));
    await expect(approver.getByText('Cluster now')).toBeVisible();
    expect(await violations(approver)).toEqual([]);
    await approve(approver);
    await expect(approver.locator('.name-and-verdict')).toContainText('Superseded', { timeout: 90_000 });
    await expect(changes).toContainText('No Primary exists: was pass, now fail');
    await expect(changes.getByRole('link', { name: 'Request again' })).toHaveAttribute('href', '/clusters/lab/recovery#bootstrap');
    await expect(operator.locator('.name-and-verdict')).toContainText('Superseded', { timeout: 90_000 });
  });

  test('an action can be requested by keyboard; a wrong name is rejected and the input kept', async ({ browser }) => {
    test.setTimeout(720_000);
    const page = await openAs(browser, 'operator', RECOVERY);
    await loseQuorum(page);
    await attest(page);
    await expect(requestButton(page)).toBeEnabled({ timeout: 270_000 });
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
    // The focus is where the mistake is.
    await expect(confirm).toBeFocused();
    await page.keyboard.press('ControlOrMeta+A');
    await page.keyboard.type('lab');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await expect(page).toHaveURL(/\/actions\//);
    await expect(page.getByRole('button', { name: 'Withdraw' })).toBeVisible();
    await page.getByRole('button', { name: 'Withdraw' }).click();
    await expect(page.locator('.name-and-verdict')).toContainText('Cancelled');
  });

  test('the requester cannot approve even with the role; another approver can, by keyboard', async ({ browser }) => {
    test.setTimeout(720_000);
    const deputy = await openAs(browser, 'deputy', RECOVERY);
    await loseQuorum(deputy);
    await attest(deputy);
    await request(deputy);
    const button = (page: Page) => page.getByRole('button', { name: 'Approve and execute' });
    await expect(button(deputy)).toBeDisabled();
    await expect(deputy.getByText('You requested this; another person must decide.').first()).toBeVisible();
    const approver = await openAs(browser, 'approver', new URL(deputy.url()).pathname);
    for (const step of [approveSummary(approver), button(approver)]) {
      await tabTo(approver, step);
      await approver.keyboard.press('Enter');
    }
    for (const page of [deputy, approver]) {
      await expect(page.locator('.name-and-verdict')).toContainText('Succeeded', { timeout: 180_000 });
    }
    expect(await violations(deputy)).toEqual([]);
  });

  test('an unapproved request expires on open pages', async ({ browser }) => {
    test.setTimeout(720_000);
    await command('console restart --request-expiry 20s');
    try {
      const operator = await openAs(browser, 'operator', RECOVERY);
      await loseQuorum(operator);
      await attest(operator);
      await request(operator);
      const approver = await openAs(browser, 'approver', new URL(operator.url()).pathname);
      for (const page of [operator, approver]) {
        await expect(page.locator('.name-and-verdict')).toContainText('Expired', { timeout: 120_000 });
        await expect(page.getByText('not approved in time').first()).toBeVisible();
        await expect(page.locator('#decision')).toHaveCount(0);
      }
      expect(await violations(approver)).toEqual([]);
      await expect(approver.getByRole('link', { name: /^Actions\s*1/ })).toHaveCount(0);
    } finally {
      await command('console restart');
    }
  });

  test('a viewer sees the disabled button and the reason', async ({ browser }) => {
    test.setTimeout(540_000);
    const viewer = await openAs(browser, 'viewer', RECOVERY);
    await loseQuorum(viewer);
    await expect(requestButton(viewer)).toBeDisabled({ timeout: 90_000 });
    await expect(plan(viewer)).toContainText(/Requires the operator role|Not all checks passed/);
  });
});

test.describe('without JavaScript', () => {
  test.use({ javaScriptEnabled: false, allowed: REFUSED });

  test('recovery can be paused with a reason and resumed', async ({ page }) => {
    await signIn(page, 'admin', RECOVERY);
    await page.locator('#switch-one-form').getByLabel(/^Reason/).fill('moving <b>racks</b>');
    await page.getByRole('button', { name: 'Pause recovery' }).click();
    await expect(page).toHaveURL(/\/clusters\/lab\/recovery$/);
    await expect(page.getByText('Recovery paused for this cluster')).toBeVisible();
    await expect(page.locator('.notice').first()).toContainText('moving <b>racks</b>');
    await page.getByRole('button', { name: 'Resume recovery' }).click();
    await expect(page.getByText('Recovery paused for this cluster')).toHaveCount(0);
  });

  test('a rejected form shows the reason on a separate page', async ({ page }) => {
    await signIn(page, 'operator', '/actions');
    await page.getByRole('button', { name: 'Pause recovery' }).click();
    await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
    await expect(page.getByText(/reason/i).first()).toBeVisible();
    await page.getByRole('link', { name: 'Back' }).click();
    await expect(page).toHaveURL(/\/actions$/);
  });
});
