// Keyboard shortcuts, and the dialog of search and help. Both are ordinary pages without it: `/search` and `/help`.

import { signIn } from './page.js';

/** Pages by the letter after `g`. The help page lists them. */
const PAGES = { c: '/', a: '/actions', i: '/incidents', n: '/notifications', u: '/audit', s: '/status-pages', p: '/account' };
/** Pages of the cluster that is shown. */
const CLUSTER_PAGES = { o: '', e: '/events', t: '/timeline', f: '/findings', r: '/recovery' };
/** How long after `g` its letter is waited for, in milliseconds. */
const SEQUENCE = 1500;

const dialog = document.createElement('dialog');
dialog.setAttribute('closedby', 'any');

/** The served part of the page at `path`. */
const fetchPart = async (path) => {
  const response = await fetch(`/fragments${path}`).catch(() => ({}));
  if (response.status == 401) return void signIn();
  const text = response.ok ? await response.text().catch(() => '') : '';
  return text.slice(text.indexOf('\n') + 1) || '<p class="notice">The console is unreachable.</p>';
};

/** Ends when the results are those of what is typed. */
let latest;
const input = () => dialog.querySelector('input');

const fill = (html) => {
  dialog.innerHTML = `<form method="dialog"><button aria-label="Close">×</button></form>${html}`;
  (input() ?? dialog.querySelector('button')).focus();
};
const open = async (path, label, placeholder = '') => {
  if (location.pathname == '/sign-in') return;
  dialog.setAttribute('aria-label', label);
  if (!dialog.open) {
    document.body.append(dialog);
    dialog.showModal();
  }
  fill(placeholder);
  const html = await fetchPart(path);
  if (!html || dialog.getAttribute('aria-label') != label) return;
  const typed = input()?.value;
  fill(html);
  if (typed) await find(input().value = typed);
};
// What is typed before the served part has arrived is kept.
const openSearch = () => (latest = open('/search', 'Search', '<form><input type="search" aria-label="Search"></form>'));
dialog.addEventListener('close', () => dialog.remove());

const results = () => dialog.querySelector('#results');
const links = () => [...dialog.querySelectorAll('#results a')];

const find = async (query) => {
  const html = await fetchPart(`/search?q=${encodeURIComponent(query)}`);
  if (!html || input()?.value != query) return;
  const found = new DOMParser().parseFromString(html, 'text/html').getElementById('results');
  const selected = links().indexOf(document.activeElement);
  results().innerHTML = found?.innerHTML ?? html;
  // Keys reach the dialog only while something in it has the focus.
  if (selected >= 0) (links()[selected] ?? input()).focus();
};
dialog.addEventListener('input', ({ target }) => {
  if (results()) latest = find(target.value);
});
dialog.addEventListener('submit', async (event) => {
  if (event.target.method == 'dialog') return;
  event.preventDefault();
  await latest;
  if (dialog.open) links()[0]?.click();
});
dialog.addEventListener('keydown', (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const stops = [dialog.querySelector('input'), ...links()];
  stops[(stops.indexOf(document.activeElement) + step + stops.length) % stops.length]?.focus();
});

addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href="/search"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  openSearch();
});

let isSequence = false;
let timer;
addEventListener('keydown', (event) => {
  const { key, target } = event;
  if (key.toLowerCase() == 'k' && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) {
    event.preventDefault();
    return openSearch();
  }
  if (event.ctrlKey || event.metaKey || event.altKey || dialog.open || target.closest?.('input, textarea, select')) return;
  const cluster = /^\/clusters\/[^/]+/.exec(location.pathname)?.[0];
  const path = PAGES[key] ?? (cluster && key in CLUSTER_PAGES ? cluster + CLUSTER_PAGES[key] : undefined);
  if (isSequence && path) location.assign(path);
  isSequence = key == 'g';
  clearTimeout(timer);
  timer = setTimeout(() => (isSequence = false), SEQUENCE);
  if (key == '?') open('/help', 'Help');
  if (key != '/') return;
  event.preventDefault();
  const filter = document.querySelector('main form[role=search] input:not([type=hidden])');
  if (filter) filter.focus();
  else openSearch();
});
