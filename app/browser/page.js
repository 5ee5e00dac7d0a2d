// The page as a whole: what the module needs of the browser (`app/src/browser.rs`), and what works before it has loaded.

import { Idiomorph } from 'idiomorph';
import { notify } from './alerts.js';
import { localize } from './local-time.js';

const TITLE_SUFFIX = ' · Galera Console';

/** Whether a reader has changed a field: its text, its tick, or the choice in its list. */
const isChanged = {
  value: (field) => 'defaultValue' in field && field.type != 'hidden' && field.value != field.defaultValue,
  checked: (field) => field.checked != field.defaultChecked,
  selected: (option) => [...option.closest('select').options].some((one) => one.selected != one.defaultSelected),
};

/** What the reader or the script has changed stays: open details, changed fields, refused fields. */
const isKept = (name, element) =>
  ['open', 'aria-invalid', 'aria-errormessage'].includes(name) || isChanged[name]?.(element);

const callbacks = {
  beforeAttributeUpdated: (name, element) => !isKept(name, element),
  beforeNodeRemoved: (node) => node.id != 'refusal',
};

/** Makes `element` equal to the element `html`. */
const morph = (element, html) => {
  Idiomorph.morph(element, html, { callbacks, ignoreActiveValue: true });
  localize(element);
};
localize(document.body);

/** The title that came with the page, or with its served part. */
let served = document.title;

export const setServedTitle = (title) => (served = document.title = title + TITLE_SUFFIX);

/** Leads to the sign-in page, which returns here afterwards; not while the user signs out. */
export const signIn = () => {
  if ('leaving' in document.body.dataset) return;
  const next = encodeURIComponent(location.pathname + location.search);
  location.assign(`/sign-in?error=session_ended&next=${next}`);
};

const main = document.getElementById('main');
let lost = false;

// While the console is unreachable, a link waits for it and the page shows that, instead of the browser's error page.

const unreachable = (name) => {
  const heading = Object.assign(document.createElement('h1'), { textContent: 'Console unreachable' });
  const text = `${name} opens when the connection is back.`;
  const section = Object.assign(document.createElement('section'), { className: 'problem' });
  section.append(heading, Object.assign(document.createElement('p'), { textContent: text }));
  return section;
};
const open = (url, shown) =>
  fetch(url).then(
    () => location.assign(url),
    () => {
      main.replaceChildren(shown);
      setTimeout(open, 1000, url, shown);
    },
  );
addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href]');
  if (!lost || !link || link.origin != location.origin || link.pathname == location.pathname) return;
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  open(link.href, unreachable(link.textContent));
});

// Showing what arrives may take longer than the time until more arrives. The rest is left to the reader's input.

let update;
/** Since the last update began, with the one that led to it. */
let requests = 0;
const shown = new MessageChannel();

const requestUpdate = () => {
  // Not within the call that requests it.
  if (!requests++) queueMicrotask(runUpdate);
};

const runUpdate = () => {
  requests = 1;
  const began = performance.now();
  update?.();
  // Handled after the effects of the update. A timer of a hidden page would be late by up to a minute.
  shown.port2.postMessage(began);
};

const endUpdate = () => {
  const isRequested = requests > 1;
  requests = 0;
  if (isRequested) requestUpdate();
};

shown.port1.onmessage = ({ data: began }) => {
  if (document.hidden) endUpdate();
  else setTimeout(endUpdate, 2 * (performance.now() - began));
};

globalThis.page = {
  morph,
  requestUpdate,
  startUpdates: (show) => {
    update = show;
    setInterval(requestUpdate, 1000);
  },
  setTitle: (prefix, text) => (document.title = text ? prefix + text + TITLE_SUFFIX : prefix + served),
  setConnection: (isLost, stale) => {
    lost = isLost;
    main.classList.toggle('stale', stale);
  },
  path: () => location.pathname,
  query: () => location.search.slice(1),
  clusterLabel: (name) => {
    const text = decodeURIComponent(name.replaceAll('~', '%'));
    return /[\p{Cc}\p{Cf}]|[^\S ]|^ | $|  /u.test(text) ? name : text;
  },
  renderedAt: () => document.querySelector('meta[name=server-time]')?.content ?? '',
  signIn,
  checkSession: async () => {
    const response = await fetch('/api/v1/session').catch(() => ({}));
    if (response.status == 401) signIn();
  },
  liveUrl: () => `${location.origin.replace('http', 'ws')}/api/v1/live`,
};

// The icon of the tab follows the worst status, which every page has.

const icon = document.querySelector('link[rel=icon]');
const paintIcon = () => {
  const alerts = document.querySelector('[data-worst]');
  const worst = alerts?.dataset.worst;
  if (alerts) notify(worst, alerts.innerText);
  const file = worst ? `/favicon-${worst}.svg` : '/favicon.svg';
  if (icon.getAttribute('href') != file) icon.href = file;
};
paintIcon();
new MutationObserver(paintIcon).observe(document.body, { subtree: true, attributeFilter: ['data-worst'] });

// A page that could not be loaded is loaded again once it can be.

setInterval(async () => {
  if (document.querySelector('[data-retry]') && (await fetch(location).catch(() => ({}))).ok) location.reload();
}, 3000);

addEventListener('click', ({ target: button }) => {
  if (button.id != 'copy') return;
  const url = location.href;
  if (!navigator.clipboard) return void prompt('URL of this page', url);
  const label = button.textContent;
  navigator.clipboard.writeText(url).then(() => {
    button.textContent = 'Copied';
    setTimeout(() => (button.textContent = label), 2000);
  });
});
