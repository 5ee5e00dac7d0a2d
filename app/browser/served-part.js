// The part of a page that only the server renders: fetched again after changes, replaced in place.

import { setServedTitle, signIn } from './page.js';

/** Pauses between fetches in milliseconds: after changes of a cluster in trouble, and otherwise. */
const CHANGED = 2000;
const CALM = 10_000;

const part = document.querySelector('[data-part]');
/** When the part was fetched last; undefined while it is being fetched. */
let fetchedAt = Date.now();
/** Whether it must be fetched again as soon as the current fetch ends. */
let pending = false;

const show = (text) => {
  const end = text.indexOf('\n');
  if (part.dataset.part) setServedTitle(text.slice(0, end));
  const next = part.cloneNode(false);
  next.innerHTML = text.slice(end + 1);
  globalThis.page.morph(part, next.outerHTML);
};

const refresh = async () => {
  fetchedAt = undefined;
  pending = false;
  const path = `/fragments${location.pathname}${location.search}`;
  // On failure the old content stays; the banner about the connection explains.
  const response = await fetch(path).catch(() => ({}));
  if (response.status == 401) signIn();
  const text = response.ok && (await response.text().catch(() => ''));
  fetchedAt = Date.now();
  // The reader may have filtered in the meantime.
  if (pending) refresh();
  else if (text) show(text);
};

let timer;

/** Fetches the part as soon as `pause` milliseconds have passed since that was done last; 0 is at once. */
const refreshAfter = (pause) => {
  if (!part || (pause && document.visibilityState != 'visible')) return;
  if (fetchedAt === undefined) {
    pending ||= !pause;
    return;
  }
  const left = fetchedAt + pause - Date.now();
  clearTimeout(timer);
  if (left > 0) timer = setTimeout(refreshAfter, left, pause);
  else refresh();
};

/** The page with the nodes says little beside them that changes while the cluster serves. */
const hasNodes = /^\/clusters\/[^/]+$/.test(location.pathname);

/** Called after changes of the document of `topic`. `calm`: the cluster serves. */
globalThis.page.topicChanged = (topic, isFirst, calm) => {
  if (topic == 'actions' && !isFirst) refreshAfter(0);
  if (topic.startsWith('cluster/')) refreshAfter(calm && hasNodes ? CALM : CHANGED);
};

addEventListener('popstate', () => refreshAfter(0));
// Other pages have no topic that changes with them.
if (part && !/^\/clusters\/[^/]+(\/(?!nodes\/)|$)/.test(location.pathname)) setInterval(() => refreshAfter(CALM), 1000);
