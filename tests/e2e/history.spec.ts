// Alarms about the data: what cannot be undone by the cluster stays on every page until a person acknowledges it.
import { command, expect, live, row, signIn, test, verdict, violations } from './test';

const NODES = ['n1', 'n2', 'n3'];

test('a replaced history is an alarm until an operator acknowledges it', async ({ page }) => {
  test.setTimeout(720_000);
  await signIn(page, 'operator', '/clusters/lab');
  await live(page);
  for (const node of NODES) await command(`kill ${node}`);
  await expect(verdict(page)).toHaveText(/Down|No Primary/, { timeout: 90_000 });
  await command('refound n1');
  const state = (node: string) => row(page, node).getByRole('cell').first();
  await expect(state('n1')).toHaveText('Synced', { timeout: 180_000 });
  for (const node of ['n2', 'n3']) {
    await command(`wipe ${node}`);
    await command(`start ${node}`);
    await expect(state(node)).toHaveText('Synced', { timeout: 180_000 });
  }

  // All members are Synced, and yet nothing is healthy.
  await expect(page.locator('.head')).toContainText(/The history \S+ replaced \S+/, { timeout: 90_000 });
  await expect(verdict(page)).not.toHaveText('Healthy');
  await expect(page).not.toHaveTitle(/Healthy/);
  await page.goto('/');
  await live(page);
  const overview = page.getByRole('main').getByRole('row').filter({ hasText: 'lab' });
  await expect(overview).toContainText(/The history \S+ replaced/);
  await expect(overview).not.toContainText('Healthy');
  await page.goto('/audit');
  await expect(page.getByRole('main')).toContainText(/The history \S+ replaced/);

  await page.goto('/clusters/lab/recovery');
  const alarms = page.locator('#alarms');
  await expect(alarms).toContainText('founded again, or restored from a backup');
  expect(await violations(page)).toEqual([]);
  await alarms.getByLabel('What was found, and what was done').fill('founded again on purpose, in a lab');
  await alarms.getByRole('button', { name: 'Acknowledge' }).click();
  await expect(alarms).toHaveCount(0);
  await page.goto('/clusters/lab');
  await live(page);
  await expect(verdict(page)).toHaveText('Healthy', { timeout: 90_000 });
});
