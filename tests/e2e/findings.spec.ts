// Findings that people leave as they are.
import { expect, live, signIn, test, violations } from './test';

const FINDINGS = '/clusters/lab/findings';

test.describe('acknowledging', () => {
  test.use({ allowed: /status of 4\d\d/, viewport: { width: 390, height: 844 }, colorScheme: 'dark' });

  test('an operator acknowledges a finding with a reason, on a phone, and reopens it', async ({ page }) => {
    await signIn(page, 'operator', FINDINGS);
    await live(page);
    // The databases of the lab do not flush at each commit.
    const heading = page.getByRole('heading', { name: /relaxed durability/i });
    const finding = page.locator('section', { has: heading }).last();
    await finding.locator('summary', { hasText: 'Acknowledge' }).click();
    const button = finding.getByRole('button', { name: 'Acknowledge' });
    await button.click();
    const reason = finding.getByLabel(/^Reason for accepting it/);
    await expect(reason).toBeFocused();
    await reason.fill('a lab without data worth keeping');
    await finding.getByLabel('For', { exact: true }).selectOption('7 days');
    expect(await violations(page)).toEqual([]);
    await button.click();
    const acknowledged = page.locator('#acknowledged');
    await expect(acknowledged).toContainText('Acknowledged by operator until');
    await expect(acknowledged).toContainText('a lab without data worth keeping');
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    expect(wide).toBeLessThanOrEqual(0);
    expect(await violations(page)).toEqual([]);
    await acknowledged.getByRole('button', { name: 'Reopen relaxed durability' }).click();
    await expect(acknowledged).toHaveCount(0);
    await expect(heading).toBeVisible();
  });
});

test('a viewer sees findings, and which role acknowledges them', async ({ page }) => {
  await signIn(page, 'viewer', FINDINGS);
  await live(page);
  const heading = page.getByRole('heading', { name: /relaxed durability/i });
  const finding = page.locator('section', { has: heading }).last();
  await finding.locator('summary', { hasText: 'Acknowledge' }).click();
  await expect(finding.getByRole('button', { name: 'Acknowledge' })).toBeDisabled();
  await expect(finding).toContainText('Requires the operator role.');
});
