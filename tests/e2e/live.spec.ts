import { command, expect, live, markDocument, openCluster, row, seqno, signIn, test, verdict } from './test';

test('the overview lists every cluster with its verdict', async ({ page }) => {
  await signIn(page);
  await expect(page).toHaveTitle('All healthy · Galera Console');
  const line = page.getByRole('table').getByRole('row').filter({ hasText: 'lab' });
  await expect(line).toContainText('Healthy');
  await expect(line).toContainText('3 / 3');
  await line.getByRole('link', { name: 'lab', exact: true }).click();
  await expect(page).toHaveURL(/\/clusters\/lab$/);
  await expect(page).toHaveTitle('Healthy · lab · Galera Console');
});

test('sequence numbers of three Synced nodes advance together without a reload', async ({ page }) => {
  await openCluster(page);
  const notReloaded = await markDocument(page);
  for (const name of ['n1', 'n2', 'n3']) await expect(row(page, name)).toContainText('Synced');
  await expect(verdict(page)).toHaveText('Healthy');
  const seqnos = () => Promise.all(['n1', 'n2', 'n3'].map((name) => seqno(page, name)));
  // The nodes are read at different moments: what the first of them had committed, each has a little later.
  for (let round = 0; round < 3; round++) {
    const first = Math.max(...(await seqnos()));
    await expect
      .poll(async () => Math.min(...(await seqnos())), { message: 'the last node passes the first', timeout: 120_000, intervals: [150] })
      .toBeGreaterThan(first);
  }
  expect(await notReloaded()).toBe(true);
});

test('both sources are shown with their age, and a stopped agent turns stale', async ({ page }) => {
  await openCluster(page);
  const agent = row(page, 'n2').getByRole('cell').nth(6);
  await expect(agent).toContainText('Synced');
  await command('agent kill 2');
  await expect(agent).toContainText('stale', { timeout: 75_000 });
  await expect(row(page, 'n2').getByRole('cell').first()).toContainText('Synced');
  await command('agent start 2');
  await expect(agent).not.toContainText('stale', { timeout: 60_000 });
});

test('a tile of the topology leads to its node', async ({ page }) => {
  await openCluster(page);
  const topology = page.getByRole('region', { name: 'Topology' });
  await expect(topology).toContainText('Primary n1, n2, n3 · size 3');
  for (const name of ['n1', 'n2', 'n3']) {
    await expect(topology.getByRole('link', { name: new RegExp(`^${name}.*Synced`, 's') })).toBeVisible();
  }
  await topology.getByRole('link', { name: /^n2/ }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'n2' })).toBeVisible();
});

test('the topology uses the width of the page', async ({ page }) => {
  await openCluster(page);
  for (const width of [1280, 1440, 390]) {
    await page.setViewportSize({ width, height: 900 });
    const share = () => page.evaluate(() => {
      const tiles = [...document.querySelectorAll('.tile')].map((tile) => tile.getBoundingClientRect());
      const [left, right] = [Math.min(...tiles.map((tile) => tile.left)), Math.max(...tiles.map((tile) => tile.right))];
      const whole = document.querySelector('.topology')?.getBoundingClientRect().width ?? 1;
      return (right - left) / whole;
    });
    await expect.poll(share, { message: `${width} pixels` }).toBeGreaterThan(0.95);
    expect(await share()).toBeLessThanOrEqual(1.001);
  }
});

test('rows and tiles stay where they are when a node dies', async ({ page }) => {
  await openCluster(page);
  await expect(verdict(page)).toHaveText('Healthy', { timeout: 180_000 });
  const places = () => page.evaluate(() => [...document.querySelectorAll('.tile, .nodes tbody tr')].map((one) => one.getBoundingClientRect().top));
  const before = await places();
  await command('kill n3');
  await expect(verdict(page)).toHaveText('Degraded', { timeout: 90_000 });
  expect(await places()).toEqual(before);
  await command('repair');
});

test('the node page shows every property with its source', async ({ page }) => {
  await openCluster(page);
  await row(page, 'n2').getByRole('link', { name: 'n2' }).click();
  await expect(page).toHaveURL(/\/clusters\/lab\/nodes\//);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('n2');
  await expect(page.getByRole('navigation', { name: 'Breadcrumbs' }).getByRole('listitem').last()).toHaveText('n2');
  for (const heading of ['Sources', 'Properties', 'Commits per second', 'Registry keys']) {
    await expect(page.getByRole('heading', { name: heading })).toBeVisible();
  }
  await expect(page.getByRole('table', { name: /^Registry keys of/ })).toContainText('wsrep_local_state_comment');
  await live(page);
});

test('the registry tab lists raw keys as text, including garbage', async ({ page }) => {
  const garbage = '/galera/lab/<script>window.pwned=1</script>/unheard_of';
  await command(`put ${garbage} <img src=x onerror=window.pwned=1>`);
  await openCluster(page, '/registry');
  const table = page.getByRole('table', { name: /^Registry keys of lab/ });
  await expect(table).toContainText('/wsrep_last_committed');
  await expect(table).toContainText(garbage);
  await expect(table).toContainText('<img src=x onerror=window.pwned=1>');
  expect(await page.evaluate(() => 'pwned' in window)).toBe(false);

  await page.getByLabel('Filter').fill('unheard_of');
  await expect(page).toHaveURL(/\?q=unheard_of$/);
  await expect(table.getByRole('rowgroup').nth(1).getByRole('row')).toHaveCount(1);
  await page.reload();
  await expect(page.getByLabel('Filter')).toHaveValue('unheard_of');
  await expect(table.getByRole('rowgroup').nth(1).getByRole('row')).toHaveCount(1);
  await command(`delete ${garbage}`);
});
