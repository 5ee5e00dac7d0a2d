// Printed pages: everything that the screen shows or opens, on A4.
import { API, createPage, signInAs } from './status';
import { command, currentLab, expect, live, lostInPrint, openCluster, signIn, test, verdict } from './test';

test('a cluster in trouble is printed with all its reasons', async ({ page }) => {
  test.setTimeout(360_000);
  await openCluster(page);
  for (const below of ['', '/events', '/events?before=3', '/findings', '/registry', '/timeline', '/recovery', '/nodes/127.0.0.1']) {
    await page.goto(`/clusters/lab${below}`);
    await live(page);
    expect(await lostInPrint(page), below).toEqual([]);
  }
  await command('kill n2');
  await command('kill n3');
  await page.goto('/clusters/lab');
  await expect(verdict(page)).toHaveText('No Primary', { timeout: 60_000 });
  expect(await lostInPrint(page)).toEqual([]);
  // The alert of another page.
  await page.goto('/audit');
  await live(page);
  expect(await lostInPrint(page)).toEqual([]);
});

test('incidents, the audit trail and status pages are printed', async ({ browser, page }) => {
  const admin = await signInAs(browser, 'admin');
  const slug = await createPage(admin.request, 'public');
  const text = 'Reads are not concerned. '.repeat(30);
  const incident = { clusters: [currentLab().cluster], title: 'Writes are slow', text };
  const opened = await admin.request.post(`${API}/incidents`, { data: incident });
  expect(opened.status(), await opened.text()).toBe(201);
  const { id } = (await opened.json()) as { id: string };
  await signIn(page, 'operator');
  for (const path of ['/incidents', '/audit', '/actions', '/help', `/status/${slug}`]) {
    await page.goto(path);
    await page.getByRole('heading', { level: 1 }).waitFor();
    expect(await lostInPrint(page), path).toEqual([]);
  }
  await page.goto('/incidents');
  await page.emulateMedia({ media: 'print' });
  await expect(page.getByRole('main')).toContainText(text.trim());
  await admin.request.post(`${API}/incidents/${id}/updates`, { data: { state: 'resolved', text: 'Done.' } });
  await admin.close();
});
