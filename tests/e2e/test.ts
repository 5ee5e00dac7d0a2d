// What every test has: the stage, a healthy lab at the start, a browser console that stays empty.
import AxeBuilder from '@axe-core/playwright';
import { type Locator, type Page, test as base } from '@playwright/test';

import { type Stage, command, stage, start } from './stage';

export { expect } from '@playwright/test';
export { command, stage };

interface Shared {
  /** A lab of the worker's own: its tests share it, one after the other, and make it fail. */
  lab: Stage;
}

interface Fixtures {
  stage: Stage;
  /** The lab as it was before anything was made to fail. */
  repaired: void;
  /** Messages that this test brings about on purpose. */
  allowed: RegExp;
  /** Fails the test when the browser's console is not empty, Content Security Policy included. */
  silence: void;
}

export const test = base.extend<Fixtures, Shared>({
  lab: [
    async ({}, use) => {
      const end = await start();
      await use(stage());
      await end();
    },
    { scope: 'worker', auto: true, timeout: 180_000 },
  ],
  stage: async ({ lab }, use) => use(lab),
  repaired: [
    async ({ lab: _ }, use) => {
      await command('repair');
      await use();
    },
    { auto: true, timeout: 120_000 },
  ],
  baseURL: async ({}, use) => use(stage().url),
  allowed: [/^$/, { option: true }],
  silence: [
    async ({ context, allowed }, use) => {
      const messages = new Set<string>();
      const note = (message: string) => {
        if (!allowed.test(message)) messages.add(message);
      };
      context.on('console', (message) => {
        if (['error', 'warning', 'assert'].includes(message.type())) note(`${message.type()}: ${message.text()}`);
      });
      context.on('weberror', (error) => note(`uncaught: ${error.error().message}`));
      await use();
      if (messages.size > 0) throw new Error(`the browser's console is not empty:\n${[...messages].join('\n')}`);
    },
    { auto: true },
  ],
});

/** Messages of a page whose server is away. */
export const OFFLINE = /WebSocket connection to .* failed|Failed to load resource|net::ERR_/;

/** Signs in through the form. */
export async function signIn(page: Page, role = 'viewer', path = '/'): Promise<void> {
  const user = stage().users[role];
  if (!user) throw new Error(`no account with the role ${role}`);
  await page.goto(path);
  await page.getByLabel('Name').fill(user.name);
  await page.getByLabel('Password').fill(user.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('button', { name: 'Sign out' }).waitFor();
}

/** Signs in and opens the cluster's page, or a page below it, live. */
export async function openCluster(page: Page, below = ''): Promise<void> {
  await signIn(page, 'viewer', `/clusters/${stage().cluster}${below}`);
  await live(page);
}

/** Waits until the page is hydrated and connected. */
export async function live(page: Page): Promise<void> {
  await page.getByText('Live', { exact: true }).waitFor();
}

/** A node's row in the table of nodes, by its name or its address. */
export function row(page: Page, node: string): Locator {
  const table = page.getByRole('table', { name: /^Nodes of/ });
  const word = new RegExp(`(^|\\s)${node.replaceAll('.', '\\.')}(\\s|$)`);
  return table.getByRole('row').filter({ has: page.getByRole('rowheader', { name: word }) });
}

/** The verdict's word in the head of the page. */
export function verdict(page: Page): Locator {
  return page.locator('.head .verdict .word');
}

/** A node's last committed sequence number as the table shows it. */
export async function seqno(page: Page, name: string): Promise<number> {
  const text = await row(page, name).getByRole('cell').nth(1).innerText();
  const digits = /^[\d\s,.\u00a0\u202f]+/.exec(text)?.[0].replace(/\D/g, '');
  return Number(digits ?? Number.NaN);
}

/** Marks the document, so that a reload can be told. */
export async function mark(page: Page): Promise<() => Promise<boolean>> {
  await page.evaluate(() => document.documentElement.setAttribute('data-mark', 'here'));
  return () => page.evaluate(() => document.documentElement.getAttribute('data-mark') === 'here');
}

/** What axe finds wrong with the page as it is now. */
export async function violations(page: Page): Promise<string[]> {
  const found = await new AxeBuilder({ page }).analyze();
  return found.violations.map(
    (violation) => `${violation.id}: ${violation.help}: ${violation.nodes.map((node) => node.html).slice(0, 3).join(' | ')}`,
  );
}

/** Presses Tab until `wanted` has the focus. */
export async function reach(page: Page, wanted: Locator): Promise<void> {
  for (let presses = 0; presses < 80; presses++) {
    if (await wanted.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press('Tab');
  }
  throw new Error(`the keyboard does not reach ${wanted}`);
}
