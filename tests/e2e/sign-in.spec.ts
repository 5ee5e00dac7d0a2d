import { expect, signIn, test } from './test';

test('a wrong password is rejected, the right one redirects, signing out ends the session', async ({ page, lab }) => {
  const user = lab.users.operator;
  await page.goto('/clusters/lab/registry');
  await expect(page).toHaveURL(/\/sign-in\?next=/);
  await page.getByLabel('Name').fill(user.name);
  await page.getByLabel('Password').fill('wrong');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('alert')).toContainText('Incorrect name or password');
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

test('the sign-in page has the expected structure', async ({ page }) => {
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
      - paragraph: No account? Ask your administrator.
  `);
});

test('it does not redirect to other sites', async ({ page, lab }) => {
  const user = lab.users.viewer;
  for (const target of ['https://evil.example/', '//evil.example/', '/\\evil.example']) {
    await page.goto(`/sign-in?next=${encodeURIComponent(target)}`);
    await page.getByLabel('Name').fill(user.name);
    await page.getByLabel('Password').fill(user.password);
    await page.getByRole('button', { name: 'Sign in' }).click();
    // Other tests signed in elsewhere: a browser that the account knows is shown that first.
    const next = page.getByRole('link', { name: 'Continue' });
    const end = page.getByRole('button', { name: 'Sign out' });
    await next.or(end).waitFor();
    if (await next.isVisible()) await next.click();
    await end.waitFor();
    expect(new URL(page.url()).origin).toBe(lab.url);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await expect(page).toHaveURL(/\/sign-in/);
  }
});

test('signing out in one tab signs out the others', async ({ page, context }) => {
  await signIn(page);
  const other = await context.newPage();
  await other.goto('/clusters/lab');
  await other.getByText('Live', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await expect(other).toHaveURL(/\/sign-in/);
});
