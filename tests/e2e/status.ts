// Status pages made by the API, for those who then look at them.
import type { APIRequestContext, Browser, BrowserContext } from '@playwright/test';

import { expect, stage } from './test';

export const API = '/api/v1/status';

/** Somebody who is signed in, by the API. */
export async function as(browser: Browser, role: string): Promise<BrowserContext> {
  const context = await browser.newContext({ baseURL: stage().url, extraHTTPHeaders: { Origin: stage().url } });
  const user = stage().users[role];
  const answer = await context.request.post('/api/v1/session', { data: { username: user.name, password: user.password } });
  expect(answer.status()).toBe(200);
  return context;
}

/** A page of the lab's cluster, under a slug of its own. */
export async function makePage(admin: APIRequestContext, visibility: string, more = {}): Promise<string> {
  const slug = `p${Date.now().toString(36)}${Math.random().toString(36).slice(2, 6)}`;
  const clusters = [{ cluster: stage().cluster, name: 'Orders' }];
  const answer = await admin.post(`${API}/pages`, { data: { slug, title: 'Shop', clusters, visibility, ...more } });
  expect(answer.status(), await answer.text()).toBe(201);
  await expect(async () => expect((await admin.get(`/status/${slug}`)).status()).toBe(200)).toPass();
  return slug;
}
