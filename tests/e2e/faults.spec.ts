import { OFFLINE, command, expect, markDocument, openCluster, row, seqno, test, verdict } from './test';

test('a killed node and its return are shown', async ({ page }) => {
  test.setTimeout(360_000);
  await openCluster(page);
  const notReloaded = await markDocument(page);
  await command('kill n3');
  // Galera's own timeout in the lab is 4 s.
  await expect(verdict(page)).toHaveText('Degraded', { timeout: 60_000 });
  await expect(page.locator('.reasons')).toContainText(/n3|127\.0\.0\.3/);
  await expect(row(page, 'n3')).toContainText('Unreachable');
  await expect(row(page, 'n1')).toContainText('Synced');
  await expect(page).toHaveTitle(/^Degraded/);

  // A node that joins while its peers still wait for its former self can cost them their Primary component.
  await expect(page.locator('.reasons')).not.toContainText('still list it as a member', { timeout: 60_000 });
  await command('wipe n3');
  await command('start n3');
  await expect(row(page, 'n3')).toContainText('Joining', { timeout: 60_000 });
  await expect(page.getByRole('region', { name: 'Topology' }).getByText(/^(perhaps )?from n\d$/)).toBeVisible({ timeout: 60_000 });
  await expect(verdict(page)).toHaveText('Healthy', { timeout: 180_000 });
  expect(await notReloaded()).toBe(true);
});

test('two killed nodes leave no Primary', async ({ page }) => {
  test.setTimeout(360_000);
  await openCluster(page);
  await command('kill n2');
  await command('kill n3');
  await expect(verdict(page)).toHaveText('No Primary', { timeout: 60_000 });
  await expect(row(page, 'n1')).toContainText('Initialized');
  await expect(page.getByRole('region', { name: 'Topology' }).getByText(/non-Primary n1/)).toBeVisible();
});

test('a paused node is unreachable with the reason, and the page keeps updating', async ({ page }) => {
  test.setTimeout(360_000);
  await openCluster(page);
  await command('pause n2');
  await expect(row(page, 'n2')).toContainText('Unreachable', { timeout: 60_000 });
  await expect(row(page, 'n2')).toContainText(/answer|timed out/);
  const before = await seqno(page, 'n1');
  await expect.poll(() => seqno(page, 'n1'), { timeout: 60_000 }).toBeGreaterThan(before);
  await page.getByRole('link', { name: 'Registry', exact: true }).click();
  await expect(page.getByRole('table', { name: /^Registry keys of/ })).toBeVisible();
  await command('resume n2');
});

test('an etcd outage is shown as a notice without alerts, and clears automatically', async ({ page }) => {
  test.setTimeout(360_000);
  await openCluster(page);
  await command('etcd kill');
  const notice = page.getByText(/Registry unreachable for/);
  await expect(notice).toBeVisible({ timeout: 60_000 });
  await expect(verdict(page)).toHaveText('Healthy');
  await expect(page.locator('.t-bad')).toHaveCount(0);
  const before = await seqno(page, 'n1');
  await expect.poll(() => seqno(page, 'n1'), { timeout: 60_000 }).toBeGreaterThan(before);
  await command('etcd start');
  await expect(notice).toBeHidden({ timeout: 90_000 });
  await expect(verdict(page)).toHaveText('Healthy');
});

test.describe('without the console', () => {
  test.use({ allowed: OFFLINE });

  test('an open page is marked stale, reconnects automatically and catches up', async ({ page }) => {
    test.setTimeout(360_000);
    await openCluster(page);
    const notReloaded = await markDocument(page);
    await command('console stop');
    await expect(page.getByText('Connection lost', { exact: true })).toBeVisible();
    await expect(page.getByRole('main')).toHaveClass(/stale/);
    await expect(row(page, 'n1')).toContainText('Synced');
    await command('kill n3');
    await command('console start');
    await expect(page.getByText('Connection lost', { exact: true })).toBeHidden({ timeout: 90_000 });
    await expect(verdict(page)).toHaveText('Degraded', { timeout: 60_000 });
    // The restarted console has never polled the node and does not know its name.
    await expect(row(page, '127.0.0.3')).toContainText('Unreachable');
    expect(await notReloaded()).toBe(true);
  });
});
