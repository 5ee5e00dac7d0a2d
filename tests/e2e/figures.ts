// Latency from a change to an open status page.
import type { Page } from '@playwright/test';

import { API, createPage, signInAs } from './status';
import { command, currentLab, expect, test } from './test';

const ROUNDS = 100;
/** Milliseconds. */
const LIMIT = 500;

/** When the element first shows the text, in Unix milliseconds. Console and browser share a clock. */
function firstShown(page: Page, selector: string, text: string): Promise<number> {
  return page.evaluate(
    ([selector, expected]) =>
      new Promise<number>((resolve) => {
        const poll = () => {
          if (document.querySelector(selector)?.textContent?.includes(expected)) resolve(Date.now());
          else requestAnimationFrame(poll);
        };
        poll();
      }),
    [selector, text],
  );
}

/** Prints the percentiles and fails if p99 exceeds the limit. */
function report(what: string, times: number[]): void {
  times.sort((a, b) => a - b);
  const quantile = (part: number) => times[Math.ceil(times.length * part) - 1];
  console.log(`${what}: p50 ${quantile(0.5)} ms, p99 ${quantile(0.99)} ms of ${times.length} (limit ${LIMIT} ms)`);
  expect(quantile(0.99), what).toBeLessThanOrEqual(LIMIT);
}

test('latency of an announcement', async ({ browser, page }) => {
  const admin = await signInAs(browser, 'admin');
  const slug = await createPage(admin.request, 'public');
  await page.goto(`/status/${slug}`);
  await expect(page.locator('#age')).toHaveText(/ago$/);
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const title = `Round ${round} begins`;
    const seen = firstShown(page, 'body', title);
    const began = Date.now();
    const data = { title, text: 'A change.', pages: [slug] };
    const answer = await admin.request.post(`${API}/announcements`, { data });
    times.push((await seen) - began);
    const { id } = (await answer.json()) as { id: string };
    await admin.request.post(`${API}/announcements/${id}/withdraw`);
  }
  report('announcement to open status page', times);
  await admin.close();
});

test('latency of a verdict', async ({ browser, page }) => {
  const admin = await signInAs(browser, 'admin');
  const slug = await createPage(admin.request, 'public');
  await page.goto(`/status/${slug}`);
  await expect(page.locator('#age')).toHaveText(/ago$/);
  const sentences = ['The database is degraded, but working', 'All systems operational'];
  await expect(page.locator('.overall')).toHaveText(sentences[1]);
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const seen = firstShown(page, '.overall', sentences[round % 2]);
    await command(round % 2 === 0 ? 'desync n3' : 'resync n3');
    const at = await seen;
    const path = `/api/v1/clusters/${currentLab().cluster}/events?kind=verdict&limit=1`;
    const { events } = (await (await admin.request.get(path)).json()) as { events: { at: string; to: string }[] };
    expect(events[0].to).toBe(round % 2 === 0 ? 'degraded' : 'healthy');
    times.push(at - Date.parse(events[0].at));
  }
  report('change recorded to open status page', times);
  await admin.close();
});
