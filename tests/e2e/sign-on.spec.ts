// Sign-on with a real identity provider.
import { type Page, test as base, expect } from '@playwright/test';

import { type SignOnConsole, startSignOn } from './provider';
import { violations } from './test';

const test = base.extend<object, { signOn: SignOnConsole }>({
  signOn: [
    async ({}, use) => {
      const signOn = await startSignOn();
      await use(signOn);
      await signOn.stop();
    },
    { scope: 'worker', timeout: 360_000 },
  ],
  baseURL: async ({ signOn }, use) => use(signOn.url),
});

test.describe.configure({ mode: 'serial' });

/** Signs in as `person` at the provider, from the console's page at `path`. */
async function signIn(page: Page, person: string, path = '/'): Promise<void> {
  await page.goto(path);
  await page.getByRole('link', { name: 'Sign in with Company' }).click();
  await page.locator('input[name=login]').fill(person);
  await page.locator('input[name=password]').fill('any');
  await page.getByRole('button', { name: 'Sign-in' }).click();
}

async function signedIn(page: Page, name: string): Promise<void> {
  await expect(page.getByRole('button', { name: 'Sign out', exact: true })).toBeVisible();
  await expect(page.getByRole('banner')).toContainText(name);
}

test('a person has the roles of the groups, on the clusters of the rule', async ({ page }) => {
  await page.goto('/sign-in');
  expect(await violations(page)).toEqual([]);
  await signIn(page, 'dora', '/clusters/prod-1');
  await expect(page).toHaveURL(/\/clusters\/prod-1$/);
  await signedIn(page, 'dora@127.0.0.1');
  await page.goto('/');
  await expect(page.getByRole('main')).toContainText('prod-1');
  await expect(page.getByRole('main')).not.toContainText('test-1');
  const hidden = await page.goto('/clusters/test-1');
  expect(hidden?.status()).toBe(404);
  await page.goto('/account');
  await expect(page.getByRole('main')).toContainText('operator on prod-*, from group dba');
  await expect(page.getByRole('main')).toContainText('Company');
});

test('a person without a group that has a role is refused with a page', async ({ page }) => {
  await signIn(page, 'nobody');
  await expect(page.getByRole('main')).toContainText('names no group of yours that has a role here');
  await page.goto('/');
  await expect(page).toHaveURL(/\/sign-in/);
});

test('signing out ends the session at the provider too', async ({ page }) => {
  await signIn(page, 'vera');
  await signedIn(page, 'vera@127.0.0.1');
  await page.getByRole('button', { name: 'Sign out', exact: true }).click();
  await page.getByRole('button', { name: /sign me out/i }).click();
  await expect(page).toHaveURL(/\/sign-in/);
  await page.goto('/');
  await page.getByRole('link', { name: 'Sign in with Company' }).click();
  await expect(page.locator('input[name=login]')).toBeVisible();
});

test('the provider ends the session by the back channel', async ({ page, signOn }) => {
  await signIn(page, 'vera');
  await signedIn(page, 'vera@127.0.0.1');
  await page.goto(`${signOn.provider.issuer}/session/end`);
  await page.getByRole('button', { name: /sign me out/i }).click();
  await expect
    .poll(async () => (await page.request.get(`${signOn.url}/api/v1/session`)).status(), { timeout: 90_000 })
    .toBe(401);
});

test.describe('without JavaScript', () => {
  test.use({ javaScriptEnabled: false });

  test('a person signs in', async ({ page }) => {
    await signIn(page, 'vera', '/clusters/prod-1');
    await expect(page).toHaveURL(/\/clusters\/prod-1$/);
    await signedIn(page, 'vera@127.0.0.1');
  });
});

test('while the provider is down the page says so, and the form for passwords remains', async ({ page, signOn }) => {
  await signOn.provider.stop();
  await expect(async () => {
    await page.goto('/sign-in');
    await expect(page.getByRole('alert')).toContainText('Company is currently unavailable', { timeout: 500 });
  }).toPass({ timeout: 135_000 });
  await expect(page.getByLabel('Password')).toBeVisible();
  await signOn.provider.start();
  await expect(async () => {
    await page.goto('/sign-in');
    await expect(page.getByRole('alert')).toHaveCount(0, { timeout: 500 });
  }).toPass({ timeout: 135_000 });
  await signIn(page, 'vera');
  await signedIn(page, 'vera@127.0.0.1');
});
