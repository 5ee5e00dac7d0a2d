// States over time, and the cluster as it was at one of them.
import { command, currentLab, expect, openCluster, row, test, verdict, violations } from './test';

const timeline = () => `/clusters/${currentLab().cluster}/timeline`;

test('a block of the timeline leads to the cluster as it was then', async ({ page }) => {
  await openCluster(page);
  await command('kill n3');
  await expect(verdict(page)).toHaveText('Degraded');
  await expect(row(page, 'n3')).toContainText('Unreachable');
  await command('repair');
  await expect(verdict(page)).toHaveText('Healthy', { timeout: 180_000 });
  await page.getByRole('navigation', { name: 'Views of the cluster' }).getByRole('link', { name: 'Timeline' }).click();
  await expect(page.getByRole('link', { name: 'Timeline' })).toHaveAttribute('aria-current', 'page');
  await page.getByRole('link', { name: '15 min' }).click();
  await page.getByRole('link', { name: /^n3: Unreachable since/ }).last().press('Enter');
  const then = page.getByRole('region', { name: new RegExp(`^${currentLab().cluster} at `) });
  await expect(then.getByText('Degraded')).toBeVisible();
  await expect(then.getByRole('row', { name: /^n3/ })).toContainText('Unreachable');
  await expect(page).toHaveURL(/at=/);
  expect(await violations(page)).toEqual([]);

  const before = page.url();
  await page.getByRole('link', { name: '− 10 min' }).click();
  await expect(page).not.toHaveURL(before);
  const shown = page.url();
  await expect(then.or(page.getByText(/recorded view of|was recorded at/)).first()).toBeVisible();
  await page.goBack();
  await expect(then.getByText('Degraded')).toBeVisible();
  // As it plays, the page shows later times by itself, until the cluster was healthy again.
  await page.getByRole('link', { name: 'Play 10×' }).click();
  await expect(then.getByText('Healthy')).toBeVisible({ timeout: 180_000 });
  await page.getByRole('link', { name: 'Stop', exact: true }).click();
  await expect(page.getByRole('link', { name: 'Play 10×' })).toBeVisible();
  expect(page.url()).not.toBe(shown);
});

test('the slider shows the cluster at each time, and keeps the focus and the range', async ({ page }) => {
  await openCluster(page);
  await command('kill n3');
  await expect(verdict(page)).toHaveText('Degraded');
  await page.goto(`${timeline()}?range=15m`);
  const slider = page.getByRole('slider', { name: 'Time in the range' });
  const then = page.getByRole('region', { name: new RegExp(`^${currentLab().cluster} at `) });
  await slider.focus();
  await page.keyboard.press('End');
  await page.keyboard.press('ArrowLeft');
  await expect(then).toBeVisible();
  await expect(page).toHaveURL(/step=299/);
  await expect(slider).toBeFocused();
  const from = new URL(page.url()).searchParams.get('from');
  await page.keyboard.press('ArrowRight');
  await expect(page).toHaveURL(/step=300/);
  expect(new URL(page.url()).searchParams.get('from')).toBe(from);
  await expect(then.getByText('Degraded')).toBeVisible();
  expect(await violations(page)).toEqual([]);
  await expect(slider).toBeFocused();
  await page.keyboard.press('Home');
  await expect(page).toHaveURL(/step=0(&|$)/);
  // The console may have started before the range.
  await expect(then.or(page.getByText(/The first recorded view of/))).toBeVisible();
  await page.setViewportSize({ width: 390, height: 844 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
});

test('a time is entered by keyboard, and the timeline fits a phone', async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 844 });
  await openCluster(page);
  await page.goto(timeline());
  await page.getByLabel('Time (UTC)').fill('2001-01-01');
  await page.getByLabel('Time (UTC)').press('Enter');
  await expect(page.getByText(/The first recorded view of/)).toBeVisible();
  await page.goto(`${timeline()}?at=${new Date(Date.now() - 3_000).toISOString()}`);
  await expect(page.getByRole('region', { name: / at / })).toBeVisible();
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
});
