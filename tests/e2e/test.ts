// Fixtures of every test: a lab, healthy at the start, and a check that the browser console stays empty.
import AxeBuilder from '@axe-core/playwright';
import { type Locator, type Page, test as base } from '@playwright/test';

import { type Lab, command, currentLab, startLab } from './lab';

export { expect } from '@playwright/test';
export { command, currentLab };

interface Shared {
  /** The worker's lab. Its tests run one after the other and inject faults. */
  lab: Lab;
}

interface Fixtures {
  /** Repairs the lab before the test. */
  repaired: void;
  /** Console messages that this test expects. */
  allowed: RegExp;
  /** Fails the test if the browser console is not empty; this includes CSP violations. */
  emptyConsole: void;
}

export const test = base.extend<Fixtures, Shared>({
  lab: [
    async ({}, use) => {
      const stop = await startLab();
      await use(currentLab());
      await stop();
    },
    { scope: 'worker', auto: true, timeout: 540_000 },
  ],
  repaired: [
    async ({ lab: _ }, use) => {
      await command('repair');
      await use();
    },
    { auto: true, timeout: 360_000 },
  ],
  baseURL: async ({}, use) => use(currentLab().url),
  allowed: [/^$/, { option: true }],
  emptyConsole: [
    async ({ context, allowed }, use) => {
      const messages = new Set<string>();
      const record = (message: string) => {
        if (!allowed.test(message) && !LATE.test(message)) messages.add(message);
      };
      context.on('console', (message) => {
        if (['error', 'warning', 'assert'].includes(message.type())) record(`${message.type()}: ${message.text()}`);
      });
      context.on('weberror', (error) => record(`uncaught: ${error.error().message}`));
      await use();
      if (messages.size > 0) throw new Error(`the browser console is not empty:\n${[...messages].join('\n')}`);
    },
    { auto: true },
  ],
});

/** Only the time that a page took, and a page without scripts uses no module. */
const LATE = /was preloaded using link preload but not used within a few seconds/;

/** Console messages while the server is unreachable. */
export const OFFLINE = /WebSocket connection to .* failed|Failed to load resource|net::ERR_/;

/** Signs in through the form. */
export async function signIn(page: Page, role = 'viewer', path = '/'): Promise<void> {
  const user = currentLab().users[role];
  if (!user) throw new Error(`no account with the role ${role}`);
  await page.goto(path);
  await page.getByLabel('Name').fill(user.name);
  await page.getByLabel('Password').fill(user.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  const signOut = page.getByRole('button', { name: 'Sign out', exact: true });
  // A browser that signs in again is shown what others did meanwhile with the account, which all tests of a lab share.
  const proceed = page.getByRole('link', { name: 'Continue', exact: true });
  await signOut.or(proceed).waitFor();
  if (await proceed.isVisible()) await proceed.click();
  await signOut.waitFor();
}

/** Signs in, opens the cluster page or a page below it, and waits until it is live. */
export async function openCluster(page: Page, below = ''): Promise<void> {
  await signIn(page, 'viewer', `/clusters/${currentLab().cluster}${below}`);
  await live(page);
}

/** Waits until the page is hydrated and connected. */
export async function live(page: Page): Promise<void> {
  await page.getByText('Live', { exact: true }).waitFor();
}

/** A node's row in the node table, by name or address. */
export function row(page: Page, node: string): Locator {
  const table = page.getByRole('table', { name: /^Nodes of/ });
  const name = new RegExp(`(^|\\s)${node.replaceAll('.', '\\.')}(\\s|$)`);
  return table.getByRole('row').filter({ has: page.getByRole('rowheader', { name }) });
}

/** The verdict in the page header. */
export function verdict(page: Page): Locator {
  return page.locator('.head .verdict .word');
}

/** A node's last committed sequence number in the node table. */
export async function seqno(page: Page, name: string): Promise<number> {
  const text = await row(page, name).getByRole('cell').nth(1).innerText();
  // The next line may begin with a number too: `1 behind`.
  const digits = /^[\d ,.\u00a0\u202f]+/.exec(text)?.[0].replace(/\D/g, '');
  return Number(digits ?? Number.NaN);
}

/** Marks the document. The returned function returns whether it has not been reloaded since. */
export async function markDocument(page: Page): Promise<() => Promise<boolean>> {
  await page.evaluate(() => document.documentElement.setAttribute('data-mark', 'here'));
  return () => page.evaluate(() => document.documentElement.getAttribute('data-mark') === 'here');
}

/** Rules whose result axe may leave open, for which elements, each with the reason why that is no finding. */
const UNDECIDED: Record<string, RegExp> = {
  // axe computes no background behind pseudo-elements, overlapping elements and elements out of sight; text on plain
  // backgrounds has a result.
  'color-contrast': /^/,
  // Where a reader ignores the label of a time, it reads its content, which is the same age or time without the other form.
  'aria-prohibited-attr': /^<time /,
};

/** Accessibility violations of the current page, found by axe, and what axe could not decide. */
export async function violations(page: Page): Promise<string[]> {
  const found = await new AxeBuilder({ page }).analyze();
  const describe = (what: string, { id, help }: { id: string; help: string }, elements: string[]) =>
    `${what}${id}: ${help}: ${elements.slice(0, 3).join(' | ')}`;
  const violated = found.violations.map((result) => describe('', result, result.nodes.map(({ html }) => html)));
  const undecided = found.incomplete.flatMap((result) => {
    const elements = result.nodes.map(({ html }) => html).filter((html) => !UNDECIDED[result.id]?.test(html));
    return elements.length > 0 ? [describe('undecided: ', result, elements)] : [];
  });
  return [...violated, ...undecided];
}

/** Approves the action of the page: both steps, by pointer. */
export async function approve(page: Page): Promise<void> {
  await approveSummary(page).click();
  await page.getByRole('button', { name: 'Approve and execute' }).click();
}

/** The first step of an approval; it shows the button and what that does. */
export function approveSummary(page: Page): Locator {
  return page.locator('#decide-approve > summary');
}

/** What of the page is lost on A4 paper: what is wider than it, cut off, or can only be pressed. */
export async function lostInPrint(page: Page): Promise<string[]> {
  const screen = page.viewportSize();
  // 210 mm less margins of 10 mm, at 96 pixels per inch.
  await page.setViewportSize({ width: 718, height: 1040 });
  await page.emulateMedia({ media: 'print' });
  const lost = await page.evaluate(() => {
    const isShown = (one: Element) => one.checkVisibility({ contentVisibilityAuto: true }) && one.getClientRects().length > 0;
    const isCut = (one: Element) => {
      const { overflowX, overflowY } = getComputedStyle(one);
      const [wide, high] = [one.scrollWidth > one.clientWidth + 1, one.scrollHeight > one.clientHeight + 1];
      return one.clientWidth > 1 && ((wide && overflowX !== 'visible') || (high && overflowY !== 'visible'));
    };
    const describe = (what: string) => (one: Element) => `${what}: ${one.outerHTML.slice(0, 160)}`;
    const all = [...document.querySelectorAll('body *')].filter((one) => isShown(one) && !one.closest('svg, .vh'));
    const { scrollWidth, clientWidth } = document.documentElement;
    return [
      // Browsers lay a page out a third wider than the paper, if it needs that, and print it smaller.
      ...(scrollWidth > clientWidth * 1.05 ? [`the page is ${scrollWidth} of ${clientWidth} pixels wide`] : []),
      ...all.filter(isCut).map(describe('cut off')),
      ...all.filter((one) => one.matches('button, nav:not(.way), select, [type=checkbox]')).map(describe('of no use')),
    ];
  });
  await page.emulateMedia({ media: null });
  if (screen) await page.setViewportSize(screen);
  return lost;
}

/** Presses Tab until `target` has the focus. */
export async function tabTo(page: Page, target: Locator): Promise<void> {
  for (let presses = 0; presses < 80; presses++) {
    if (await target.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press('Tab');
  }
  throw new Error(`not reachable by Tab: ${target}`);
}
