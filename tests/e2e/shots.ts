// Pictures of the documentation: the cluster page while a node receives its state from a donor, a status page, and every other page.
import { statSync } from 'node:fs';
import { join } from 'node:path';

import { command, currentLab, expect, live, openCluster, row, signIn, test, verdict } from './test';

const MAX_BYTES = 300_000;
const folder = join(__dirname, '..', '..', 'docs');

/** Pages of a healthy cluster by the name of their picture, and what they show when they are complete. */
const PAGES: Record<string, string> = {
  clusters: '/',
  node: '/clusters/lab/nodes/127.0.0.1',
  events: '/clusters/lab/events',
  charts: '/clusters/lab/series',
  timeline: '/clusters/lab/timeline',
  findings: '/clusters/lab/findings',
  registry: '/clusters/lab/registry',
  'stop-check': '/clusters/lab/stop-check?node=n1',
  'rolling-restart': '/clusters/lab/rolling-restart',
  recovery: '/clusters/lab/recovery',
  actions: '/actions',
  incidents: '/incidents',
  notifications: '/notifications',
  audit: '/audit',
  account: '/account',
  accounts: '/accounts',
  settings: '/settings',
  search: '/search?q=n2',
  help: '/help',
};

for (const scheme of ['light', 'dark'] as const) {
  test.describe(scheme, () => {
    test.use({ colorScheme: scheme });

    test('the cluster page', async ({ page }) => {
      await command('repair');
      await openCluster(page);
      await expect(verdict(page)).toHaveText('Healthy');
      // Half a minute of commits, so that the rate lines have something to show.
      await page.waitForTimeout(30_000);
      await command('kill n3');
      await expect(verdict(page)).toHaveText('Degraded');
      await command('wipe n3');
      await command('start n3');
      await expect(page.getByRole('region', { name: 'Topology' }).getByText(/from n\d$/).first()).toBeVisible({ timeout: 90_000 });
      await expect(row(page, 'n3')).toContainText('Joining');
      const path = join(folder, `cluster-${scheme}.png`);
      await page.screenshot({ path, fullPage: true });
      expect(statSync(path).size, path).toBeLessThan(MAX_BYTES);
      await expect(verdict(page)).toHaveText('Healthy', { timeout: 180_000 });
    });
  });
}

test('every page', async ({ page }) => {
  test.setTimeout(720_000);
  await command('repair');
  await page.goto('/sign-in');
  await page.screenshot({ path: join(folder, 'pictures', 'sign-in.png') });
  await signIn(page, 'admin', '/clusters/lab');
  await live(page);
  await page.waitForTimeout(15_000);
  for (const [name, path] of Object.entries(PAGES)) {
    await page.goto(path);
    await live(page);
    // The first sections have paths of the host.
    if (name === 'settings') await page.getByRole('heading', { name: 'limits' }).evaluate((heading) => heading.scrollIntoView());
    await page.screenshot({ path: join(folder, 'pictures', `${name}.png`) });
  }
  await command('kill n3');
  await command('kill n2');
  await page.goto('/clusters/lab');
  await expect(verdict(page)).toHaveText('No Primary', { timeout: 90_000 });
  await expect(page.getByRole('button', { name: /request/i }).first()).toBeVisible({ timeout: 90_000 });
  await page.screenshot({ path: join(folder, 'pictures', 'no-primary.png'), fullPage: true });
});

test('the status page', async ({ page, playwright }) => {
  const user = currentLab().users.admin;
  const api = await playwright.request.newContext({ baseURL: currentLab().url, extraHTTPHeaders: { Origin: currentLab().url } });
  await api.post('/api/v1/session', { data: { username: user.name, password: user.password } });
  const clusters = [currentLab().cluster];
  const listed = [{ cluster: currentLab().cluster, name: 'Orders' }];
  await api.post('/api/v1/status/pages', {
    data: { slug: 'shop', title: 'Databases of the shop', clusters: listed, visibility: 'public' },
  });
  const createIncident = async (title: string, texts: [string, string][]) => {
    const [[, text], ...updates] = texts;
    const opened = await api.post('/api/v1/status/incidents', { data: { clusters, title, text } });
    const { id } = (await opened.json()) as { id: string };
    for (const [state, text] of updates) await api.post(`/api/v1/status/incidents/${id}/updates`, { data: { state, text } });
  };
  await createIncident('Reports were late', [
    ['', 'Reports of this morning are late.'],
    ['resolved', 'All of them are there.'],
  ]);
  await createIncident('Writes are slow', [
    ['', 'We look into it.'],
    ['identified', 'The disk of one node is slow. Reads are not concerned.'],
  ]);
  await command('kill n3');
  await page.setViewportSize({ width: 900, height: 800 });
  await page.goto('/status/shop');
  await expect(page.locator('.overall')).toHaveText('The database is degraded, but working');
  const path = join(folder, 'status-page.png');
  await page.screenshot({ path, fullPage: true });
  expect(statSync(path).size, path).toBeLessThan(MAX_BYTES);
  await api.dispose();
});
