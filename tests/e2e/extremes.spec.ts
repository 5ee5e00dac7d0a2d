// Names, texts, numbers and clusters at the limits of what servers and the registry permit.
import type { Page } from '@playwright/test';

import { deleteCluster, putKeys } from './registry-keys';
import { expect, live, signIn, test, violations } from './test';

/** Names of clusters as servers have them, and as keys and URLs do. */
const NAMES: [string, string][] = [
  ['Größe & <b>Preis</b>', 'Gr~C3~B6~C3~9Fe~20~26~20~3Cb~3EPreis~3C~2Fb~3E'],
  ['מסד נתונים', '~D7~9E~D7~A1~D7~93~20~D7~A0~D7~AA~D7~95~D7~A0~D7~99~D7~9D'],
  ['データベースの名前', '~E3~83~87~E3~83~BC~E3~82~BF~E3~83~99~E3~83~BC~E3~82~B9~E3~81~AE~E5~90~8D~E5~89~8D'],
  ['abcdefghijklmnopqrstuvwxyz012345', 'abcdefghijklmnopqrstuvwxyz012345'],
];
/** It would look like `bal`, and is shown escaped. */
const HIDDEN = '~E2~80~AElab';

const NODE_NAMES = ['מסד-נתונים-ראשי', '<img src=x onerror=alert(1)>', 'x'.repeat(200), 'n1\u200b'];
const SEQNO = '9223372036854775806';

/** How far a page is wider than the screen, in pixels. */
const overflow = (page: Page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

const registered = (cluster: string, node: string, fields: Record<string, string>) =>
  Object.fromEntries(Object.entries(fields).map(([field, value]) => [`${cluster}/${node}/${field}`, value]));

test.describe('names, texts and numbers', () => {
  test.beforeEach(() => {
    for (const cluster of [...NAMES.map(([, key]) => key), HIDDEN]) {
      putKeys(
        Object.assign(
          {},
          ...NODE_NAMES.map((name, index) =>
            registered(cluster, `127.9.9.${index + 1}:9`, {
              wsrep_node_name: name,
              wsrep_local_state_comment: 'Synced',
              wsrep_last_committed: SEQNO,
              waiting_for: 'a long sentence '.repeat(200),
            }),
          ),
        ),
      );
    }
  });
  test.afterEach(() => {
    for (const cluster of [...NAMES.map(([, key]) => key), HIDDEN]) deleteCluster(cluster);
  });

  for (const scheme of ['light', 'dark'] as const) {
    test.describe(`in ${scheme} mode`, () => {
      test.use({ colorScheme: scheme });

      test('are shown as servers have them, in every width', async ({ page }) => {
        test.setTimeout(360_000);
        await signIn(page);
        await live(page);
        const rows = page.getByRole('main').getByRole('row');
        for (const [name] of NAMES) await expect(rows.getByRole('link', { name, exact: true })).toBeVisible({ timeout: 60_000 });
        await expect(rows.getByRole('link', { name: HIDDEN, exact: true })).toBeVisible();
        expect(await violations(page)).toEqual([]);
        for (const [name, key] of NAMES) {
          await page.goto(`/clusters/${key}`);
          await live(page);
          await expect(page.getByRole('heading', { level: 1 })).toHaveText(name);
          await expect(page.getByRole('navigation', { name: 'Breadcrumbs' })).toContainText(name);
          await expect(page).toHaveTitle(new RegExp(name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')));
          for (const width of [320, 390, 1280]) {
            await page.setViewportSize({ width, height: 900 });
            expect(await overflow(page), `${name} at ${width} pixels`).toBeLessThanOrEqual(0);
          }
        }
        const nodes = page.getByRole('rowheader');
        await expect(nodes.filter({ hasText: NODE_NAMES[1] })).toBeVisible();
        // An invisible character is shown, so that no node looks like another one.
        await expect(nodes.filter({ hasText: 'n1\\u{200b}' })).toBeVisible();
        expect(await violations(page)).toEqual([]);
        await page.goto(`/clusters/${NAMES[1][1]}/nodes/127.9.9.1:9`);
        await live(page);
        await expect(page.getByRole('heading', { level: 1 })).toHaveText(NODE_NAMES[0]);
        // All nineteen digits: as a number of JavaScript it would be rounded to …808.
        await expect(page.getByRole('main')).toContainText(SEQNO);
        expect(await violations(page)).toEqual([]);
      });
    });
  }

  test('are found by their names', async ({ page }) => {
    await signIn(page);
    for (const [name, key] of NAMES) {
      const found = page.getByRole('main').getByRole('link', { name, exact: true });
      await page.goto(`/search?q=${encodeURIComponent(name)}`);
      await expect(found).toHaveAttribute('href', `/clusters/${key}`);
      await page.goto(`/?q=${encodeURIComponent(name)}`);
      await expect(found).toBeVisible();
    }
  });
});

test.describe('a cluster of 200 nodes', () => {
  const nodes = Array.from({ length: 200 }, (_, index) => index + 1);

  test.beforeEach(() => {
    const keys = nodes.map((node) =>
      registered('large', `127.8.0.${node}:9`, { wsrep_local_state_comment: 'Synced', wsrep_last_committed: String(node) }),
    );
    putKeys(Object.assign({}, ...keys));
  });
  test.afterEach(() => deleteCluster('large'));

  test('is readable on a screen and on a phone', async ({ page }) => {
    test.setTimeout(360_000);
    await signIn(page, 'viewer', '/clusters/large');
    await live(page);
    await expect(page.getByRole('table', { name: /^Nodes of/ }).getByRole('row')).toHaveCount(201, { timeout: 60_000 });
    expect(await overflow(page)).toBeLessThanOrEqual(0);
    // A phone shows changes more slowly than they arrive, and still reacts to its reader.
    const devtools = await page.context().newCDPSession(page);
    await devtools.send('Emulation.setCPUThrottlingRate', { rate: 6 });
    await page.setViewportSize({ width: 390, height: 844 });
    expect(await overflow(page)).toBeLessThanOrEqual(0);
    const ages = page.locator('tbody time[data-age]');
    for (let turn = 0; turn < 3; turn++) {
      const [shown] = await ages.allTextContents();
      await expect(ages.first()).not.toHaveText(shown);
    }
    await devtools.send('Emulation.setCPUThrottlingRate', { rate: 1 });
    await page.goto('/');
    await live(page);
    expect(await overflow(page)).toBeLessThanOrEqual(0);
  });
});

test.describe('texts of 10 kB', () => {
  const LONG = 'x'.repeat(10_000);
  const WORDS = 'the donor refused the transfer '.repeat(330);

  test.beforeEach(() => {
    const fields = { wsrep_local_state_comment: LONG, wsrep_cluster_status: WORDS, waiting_for: WORDS, phase: 'waiting', unheard_of: LONG };
    putKeys(registered('talkative', '127.9.7.1:9', fields));
  });
  test.afterEach(() => deleteCluster('talkative'));

  test('leave every page as wide as the screen, and rows of the node table as high as a row', async ({ page }) => {
    test.setTimeout(360_000);
    await signIn(page, 'viewer', '/clusters/talkative');
    // Of a cluster with a single node.
    const node = page.getByRole('table', { name: /^Nodes of/ }).locator('tbody tr');
    await expect(async () => {
      await page.reload();
      await expect(node).toHaveCount(1, { timeout: 1_000 });
    }).toPass();
    await live(page);
    for (const below of ['', '/events', '/registry', '/recovery', '/timeline', '/nodes/127.9.7.1:9']) {
      await page.goto(`/clusters/talkative${below}`);
      await live(page);
      for (const width of [320, 390, 1440]) {
        await page.setViewportSize({ width, height: 900 });
        expect(await overflow(page), `${below} at ${width} pixels`).toBeLessThanOrEqual(0);
        if (below === '') expect((await node.boundingBox())?.height, `${width} pixels`).toBeLessThan(width < 960 ? 600 : 110);
      }
      expect(await violations(page), below).toEqual([]);
    }
  });
});
