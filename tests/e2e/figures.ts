// How soon a change is on a status page that is open in a browser.
import type { Page } from '@playwright/test';

import { API, as, makePage } from './status';
import { command, expect, stage, test } from './test';

const ROUNDS = 100;
/** Milliseconds. */
const LIMIT = 500;

/** When the place first shows the text, in milliseconds of the clock that the console has too. */
function shown(page: Page, place: string, text: string): Promise<number> {
  return page.evaluate(
    ([selector, wanted]) =>
      new Promise<number>((resolve) => {
        const look = () => {
          if (document.querySelector(selector)?.textContent?.includes(wanted)) resolve(Date.now());
          else requestAnimationFrame(look);
        };
        look();
      }),
    [place, text],
  );
}

/** Prints the figure and fails when the limit is missed. */
function report(what: string, times: number[]): void {
  times.sort((a, b) => a - b);
  const quantile = (part: number) => times[Math.ceil(times.length * part) - 1];
  console.log(`${what}: p50 ${quantile(0.5)} ms, p99 ${quantile(0.99)} ms of ${times.length} (limit ${LIMIT} ms)`);
  expect(quantile(0.99), what).toBeLessThanOrEqual(LIMIT);
}

test('an announcement, from its request', async ({ browser, page }) => {
  const admin = await as(browser, 'admin');
  const slug = await makePage(admin.request, 'public');
  await page.goto(`/status/${slug}`);
  await expect(page.locator('#age')).toHaveText(/ago$/);
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const title = `Round ${round} begins`;
    const seen = shown(page, 'body', title);
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

test('a verdict, from when the console saw the change', async ({ browser, page }) => {
  const admin = await as(browser, 'admin');
  const slug = await makePage(admin.request, 'public');
  await page.goto(`/status/${slug}`);
  await expect(page.locator('#age')).toHaveText(/ago$/);
  const words = ['The database is degraded, but working', 'All systems operational'];
  await expect(page.locator('.overall')).toHaveText(words[1]);
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const seen = shown(page, '.overall', words[round % 2]);
    await command(round % 2 === 0 ? 'desync n3' : 'resync n3');
    const at = await seen;
    const path = `/api/v1/clusters/${stage().cluster}/events?kind=verdict&limit=1`;
    const { events } = (await (await admin.request.get(path)).json()) as { events: { at: string; to: string }[] };
    expect(events[0].to).toBe(round % 2 === 0 ? 'degraded' : 'healthy');
    times.push(at - Date.parse(events[0].at));
  }
  report('change seen to open status page', times);
  await admin.close();
});
