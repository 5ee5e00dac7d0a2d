// API helpers of the status page tests.
import type { APIRequestContext, Browser, BrowserContext } from '@playwright/test';

import { currentLab, expect } from './test';

export const API = '/api/v1/status';

/** A browser context signed in through the API. */
export async function signInAs(browser: Browser, role: string): Promise<BrowserContext> {
  const context = await browser.newContext({ baseURL: currentLab().url, extraHTTPHeaders: { Origin: currentLab().url } });
  const user = currentLab().users[role];
  const answer = await context.request.post('/api/v1/session', { data: { username: user.name, password: user.password } });
  expect(answer.status()).toBe(200);
  return context;
}

/** Creates a status page for the lab's cluster and returns its slug. */
export async function createPage(admin: APIRequestContext, visibility: string, more = {}): Promise<string> {
  const slug = `p${Date.now().toString(36)}${Math.random().toString(36).slice(2, 6)}`;
  const clusters = [{ cluster: currentLab().cluster, name: 'Orders' }];
  const answer = await admin.post(`${API}/pages`, { data: { slug, title: 'Shop', clusters, visibility, ...more } });
  expect(answer.status(), await answer.text()).toBe(201);
  await expect(async () => expect((await admin.get(`/status/${slug}`)).status()).toBe(200)).toPass();
  return slug;
}
