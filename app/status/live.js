// Keeps an open status page up to date. Without it the page is complete and current after a reload.

// The page is marked as possibly out of date after three missed server heartbeats, in milliseconds.
const STALE_AFTER = 30_000;

const liveRegion = document.getElementById("spoken");
let source;
let retry;
let reading = false;
let readAgain = false;
let lost = false;
// Server clock minus browser clock, and when the server last confirmed the page, by its clock.
let offset = 0;
let asOf = Date.parse(document.getElementById("as-of").dateTime);
let lastEventAt = Date.now();

const page = () => document.getElementById("page");
const fullTime = (millis) => new Date(millis).toISOString().slice(0, 19).replace("T", " ") + " UTC";

function ago(seconds) {
  if (seconds < 60) return seconds + " s";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min";
  return Math.floor(seconds / 3600) + " h";
}

function tick() {
  const age = Math.max(0, Math.floor((Date.now() + offset - asOf) / 1000));
  const stale = lost || Date.now() - lastEventAt > STALE_AFTER;
  const time = document.getElementById("as-of");
  if (time.dateTime !== new Date(asOf).toISOString()) {
    time.dateTime = new Date(asOf).toISOString();
    time.textContent = fullTime(asOf);
  }
  document.getElementById("age").textContent =
    ", " + ago(age) + " ago" + (stale ? "; connection lost, data may be out of date" : "");
  page().classList.toggle("old", stale);
}

// Replaces the page by a newer version. Selected days, opened details and keyboard focus are kept.
function replacePage(html) {
  const next = new DOMParser().parseFromString(html, "text/html");
  const newer = next.getElementById("page");
  const shown = page();
  if (!newer) return;
  const selectorOf = (element) => element && element.name && `input[name="${element.name}"][value="${element.value}"]`;
  const focused = document.activeElement;
  const focusSelector = selectorOf(focused) || (focused && focused.id && "#" + CSS.escape(focused.id));
  for (const chosen of shown.querySelectorAll("input:checked")) {
    const same = newer.querySelector(selectorOf(chosen));
    if (same && !chosen.defaultChecked) same.checked = true;
  }
  for (const open of shown.querySelectorAll("article[id] details[open]")) {
    const same = newer.querySelector("#" + CSS.escape(open.closest("article").id) + " details");
    if (same) same.open = true;
  }
  const before = shown.querySelector(".overall").textContent;
  shown.replaceWith(newer);
  document.title = next.title;
  asOf = Math.max(asOf, Date.parse(document.getElementById("as-of").dateTime));
  if (focusSelector) page().querySelector(focusSelector)?.focus({ preventScroll: true });
  const now = newer.querySelector(".overall").textContent;
  if (now !== before) liveRegion.textContent = now;
  tick();
}

async function read() {
  if (reading) {
    readAgain = true;
    return;
  }
  reading = true;
  try {
    const response = await fetch(location.pathname, { cache: "no-cache" });
    // Deleted, or restricted to signed-in users: let the browser show what is there now.
    if (response.status === 404 || response.redirected) return location.reload();
    if (response.ok) replacePage(await response.text());
  } catch {
    // The event stream reports the lost connection, too.
  } finally {
    reading = false;
    if (readAgain) {
      readAgain = false;
      read();
    }
  }
}

function subscribe() {
  clearTimeout(retry);
  source?.close();
  source = new EventSource(page().dataset.events);
  source.onmessage = (event) => {
    const { version, now } = JSON.parse(event.data);
    lastEventAt = Date.now();
    lost = false;
    offset = now - lastEventAt;
    if (version === page().dataset.version) asOf = now;
    else read();
    tick();
  };
  source.addEventListener("gone", () => {
    source.close();
    read();
  });
  source.onerror = () => {
    lost = true;
    tick();
    // The browser reconnects automatically unless the request was rejected.
    if (source.readyState === EventSource.CLOSED) {
      retry = setTimeout(() => (read(), subscribe()), 5_000 + Math.random() * 5_000);
    }
  };
}

// Hidden pages disconnect: browsers limit the connections per host.
function onVisibilityChange() {
  if (document.hidden) {
    clearTimeout(retry);
    source?.close();
    source = undefined;
  } else if (!source) {
    lastEventAt = Date.now();
    subscribe();
  }
}

document.addEventListener("visibilitychange", onVisibilityChange);
setInterval(tick, 1_000);
onVisibilityChange();
