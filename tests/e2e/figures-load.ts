// First load and main thread of the cluster page and the overview; layout shift in every episode of a cluster.
import type { CDPSession, Page } from '@playwright/test';

import { putKeys } from './registry-keys';
import { command, expect, live, openCluster, signIn, test, verdict } from './test';

const CLUSTER = '/clusters/lab';

/** Everything that a page transfers while it loads, in bytes. */
async function transferred(page: Page): Promise<number> {
  return page.evaluate(() => {
    const entries = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
    return entries.reduce((sum, entry) => sum + (entry as PerformanceResourceTiming).encodedBodySize, 0);
  });
}

/** Sums up layout shifts from now on. */
async function observeShifts(page: Page): Promise<() => Promise<number>> {
  await page.evaluate(() => {
    const shifts = { sum: 0 };
    Object.assign(globalThis, { shifts });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) {
        const shift = entry as PerformanceEntry & { value: number; hadRecentInput: boolean };
        if (!shift.hadRecentInput) shifts.sum += shift.value;
      }
    }).observe({ type: 'layout-shift' });
  });
  return () => page.evaluate(() => (globalThis as unknown as { shifts: { sum: number } }).shifts.sum);
}

async function throttled(page: Page, kilobits: number, cpu: number): Promise<CDPSession> {
  const session = await page.context().newCDPSession(page);
  const throughput = (kilobits * 1000) / 8;
  await session.send('Network.enable');
  await session.send('Network.setCacheDisabled', { cacheDisabled: true });
  await session.send('Network.emulateNetworkConditions', {
    offline: false,
    latency: 100,
    downloadThroughput: throughput,
    uploadThroughput: throughput,
  });
  await session.send('Emulation.setCPUThrottlingRate', { rate: cpu });
  return session;
}

test('first load', async ({ page }) => {
  await openCluster(page);
  const session = await page.context().newCDPSession(page);
  await session.send('Network.enable');
  await session.send('Network.setCacheDisabled', { cacheDisabled: true });
  await page.goto(CLUSTER);
  await live(page);
  const bytes = await transferred(page);
  const paint = await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0);
  console.log(`first load of the cluster page: ${bytes} bytes (limit 110000), first contentful paint ${Math.round(paint)} ms (limit 100)`);
  expect(bytes).toBeLessThanOrEqual(110_000);
});

test('a phone at 400 kbit/s', async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 844 });
  await openCluster(page);
  await throttled(page, 400, 4);
  const began = Date.now();
  await page.goto(CLUSTER, { waitUntil: 'commit' });
  await live(page);
  console.log(`live on a phone (CPU ÷ 4, 400 kbit/s, 100 ms): ${Date.now() - began} ms (limit 3000)`);
});

test('layout shift', async ({ browser }) => {
  test.setTimeout(900_000);
  for (const width of [1440, 390]) {
    const page = await browser.newPage({ viewport: { width, height: 900 } });
    await openCluster(page);
    const shift = await observeShifts(page);
    let before = 0;
    const report = async (episode: string) => {
      const sum = await shift();
      console.log(`layout shift, ${width} px, ${episode}: ${(sum - before).toFixed(4)} (limit 0.02)`);
      before = sum;
    };
    await page.waitForTimeout(3_000);
    await report('healthy');
    await command('kill n3');
    await expect(verdict(page)).toHaveText('Degraded', { timeout: 90_000 });
    await page.waitForTimeout(3_000);
    await report('one node killed');
    await command('kill n2');
    await expect(verdict(page)).not.toHaveText('Degraded', { timeout: 90_000 });
    await page.waitForTimeout(3_000);
    await report('two nodes killed');
    await command('repair');
    await expect(verdict(page)).toHaveText('Healthy', { timeout: 360_000 });
    await report('repaired');
    await page.close();
  }
});

test('main thread', async ({ page }) => {
  await signIn(page);
  await live(page);
  for (const path of ['/', CLUSTER]) {
    await page.goto(path);
    await live(page);
    const session = await page.context().newCDPSession(page);
    await session.send('Performance.enable');
    const busy = async () => {
      const { metrics } = await session.send('Performance.getMetrics');
      return metrics.find((metric) => metric.name === 'TaskDuration')?.value ?? 0;
    };
    const [before, nodes] = [await busy(), await page.evaluate(() => document.querySelectorAll('*').length)];
    await page.waitForTimeout(10_000);
    const share = ((await busy()) - before) / 10;
    console.log(`main thread of ${path}: ${(share * 100).toFixed(1)} %, ${nodes} elements`);
  }
});

/** Registers clusters of three nodes, each key once and without a lease: nothing answers at their addresses. */
function registerClusters(count: number): void {
  const keys: Record<string, string | number> = {};
  for (let cluster = 1; cluster <= count; cluster += 1) {
    for (const node of [1, 2, 3]) {
      const prefix = `shop-${String(cluster).padStart(3, '0')}/127.1.${cluster % 250}.${node}:${3306 + Math.floor(cluster / 250)}`;
      keys[`${prefix}/wsrep_local_state_comment`] = 'Synced';
      keys[`${prefix}/wsrep_last_committed`] = cluster * 1000;
    }
  }
  putKeys(keys);
}

test('500 clusters', async ({ page }) => {
  test.setTimeout(900_000);
  registerClusters(500);
  await signIn(page);
  await expect(page.getByText('501 All')).toBeVisible({ timeout: 360_000 });
  await live(page);
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable');
  await session.send('Network.enable');
  let received = 0;
  session.on('Network.webSocketFrameReceived', ({ response }) => (received += response.payloadData.length));
  const busy = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    return metrics.find((metric) => metric.name === 'TaskDuration')?.value ?? 0;
  };
  await page.waitForTimeout(5_000);
  const [before, bytes] = [await busy(), received];
  await page.waitForTimeout(10_000);
  const share = (((await busy()) - before) / 10) * 100;
  const rate = (received - bytes) / 10_000;
  const elements = await page.evaluate(() => document.querySelectorAll('*').length);
  console.log(`500 clusters: main thread ${share.toFixed(1)} % (limit 10), ${elements} elements (limit 3000), ${rate.toFixed(1)} kB/s (limit 20)`);
});
