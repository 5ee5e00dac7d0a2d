import { expect, signIn, test } from './test';

test('a wrong password is refused in words, the right one leads on, signing out ends it', async ({ page, stage }) => {
  const user = stage.users.operator;
  await page.goto('/clusters/lab/registry');
  await expect(page).toHaveURL(/\/sign-in\?next=/);
  await page.getByLabel('Name').fill(user.name);
  await page.getByLabel('Password').fill('wrong');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('alert')).toContainText('The name or the password is wrong');
  await expect(page.getByLabel('Password')).toHaveValue('');

  await page.getByLabel('Name').fill(user.name);
  await page.getByLabel('Password').fill(user.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page).toHaveURL(/\/clusters\/lab\/registry$/);
  await expect(page.getByRole('banner')).toContainText(user.name);
  await expect(page.getByRole('banner')).toContainText('operator');

  await page.getByRole('button', { name: 'Sign out' }).click();
  await expect(page).toHaveURL(/\/sign-in/);
  await page.goto('/');
  await expect(page).toHaveURL(/\/sign-in/);
});

test('the page to sign in is what it says it is', async ({ page }) => {
  await page.goto('/sign-in');
  await expect(page).toHaveTitle('Sign in · Galera Console');
  await expect(page.getByRole('main')).toMatchAriaSnapshot(`
    - main:
      - heading "Sign in" [level=1]
      - text: Name
      - textbox "Name"
      - text: Password
      - textbox "Password"
      - button "Sign in"
      - paragraph: /Accounts are made on the console's host/
  `);
});

test('it leads to no other site', async ({ page, stage }) => {
  const user = stage.users.viewer;
  for (const next of ['https://evil.example/', '//evil.example/', '/\\evil.example']) {
    await page.goto(`/sign-in?next=${encodeURIComponent(next)}`);
    await page.getByLabel('Name').fill(user.name);
    await page.getByLabel('Password').fill(user.password);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('button', { name: 'Sign out' }).waitFor();
    expect(new URL(page.url()).origin).toBe(stage.url);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await expect(page).toHaveURL(/\/sign-in/);
  }
});

test('signing out in one window ends the other', async ({ page, context }) => {
  await signIn(page);
  const other = await context.newPage();
  await other.goto('/clusters/lab');
  await other.getByText('Live', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await expect(other).toHaveURL(/\/sign-in/);
});
