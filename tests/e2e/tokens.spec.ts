import type { Page } from '@playwright/test';

import { expect, signIn, test, violations } from './test';

/** Creates a token on the page of the account, and returns it from the page that shows it once. */
async function create(page: Page, name: string): Promise<string> {
  await page.goto('/account');
  const section = page.locator('#tokens');
  await section.getByLabel('Name, such as deploy').fill(name);
  await section.getByRole('checkbox').first().check();
  await section.getByLabel(/^Clusters: names/).fill('lab, prod-*');
  await section.getByRole('button', { name: 'Create token' }).click();
  await expect(page.getByRole('heading', { name: 'API token' })).toBeVisible();
  return page.getByLabel('API token').inputValue();
}

async function statusWith(url: string, token: string): Promise<number> {
  const response = await fetch(`${url}/api/v1/clusters/lab`, { headers: { authorization: `Bearer ${token}` } });
  return response.status;
}

test('a token is created, copied, used and revoked', async ({ page, lab, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await signIn(page, 'admin');
  const token = await create(page, 'browser');
  expect(token).toMatch(/^gct_[0-9a-f]{16}_[0-9a-f]{72}$/);
  expect(await violations(page), 'the page that shows it').toEqual([]);
  await page.getByRole('button', { name: 'Copy' }).click();
  await expect(page.getByRole('button', { name: 'Copied' })).toBeVisible();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(token);
  expect(await statusWith(lab.url, token)).toBe(200);

  await page.getByRole('link', { name: 'Continue to your account' }).click();
  const row = page.locator('#tokens').getByRole('row', { name: /browser/ });
  await expect(row).toContainText('lab, prod-*');
  await expect(page.locator('body')).not.toContainText(token);
  await expect(page.getByRole('heading', { name: 'Service accounts' })).toBeVisible();
  expect(await violations(page), 'the account').toEqual([]);
  await row.getByRole('button', { name: 'Revoke' }).click();
  await expect(row).toContainText('revoked');
  expect(await statusWith(lab.url, token)).toBe(401);
});

test.describe('without JavaScript', () => {
  test.use({ javaScriptEnabled: false });

  test('a token is created and revoked', async ({ page, lab }) => {
    await signIn(page, 'viewer');
    const token = await create(page, 'plain');
    await expect(page.getByRole('button', { name: 'Copy' })).toBeHidden();
    expect(await statusWith(lab.url, token)).toBe(200);
    await page.getByRole('link', { name: 'Continue to your account' }).click();
    const row = page.locator('#tokens').getByRole('row', { name: /plain/ });
    await row.getByRole('button', { name: 'Revoke' }).click();
    await expect(row).toContainText('revoked');
    expect(await statusWith(lab.url, token)).toBe(401);
  });
});
