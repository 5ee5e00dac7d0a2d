// Keeps an open status page true. Without it the page is complete as it came, and right again after a reload.

// How long silence lasts before the page says that it may be old: three beats of the server.
const SILENCE = 30_000;

const spoken = document.getElementById("spoken");
let source;
let retry;
let reading = false;
let again = false;
let lost = false;
// The server's clock minus ours, and when it last said that the page is right, by its clock.
let offset = 0;
let asOf = Date.parse(document.getElementById("as-of").dateTime);
let heard = Date.now();

const page = () => document.getElementById("page");
const full = (millis) => new Date(millis).toISOString().slice(0, 19).replace("T", " ") + " UTC";

function ago(seconds) {
  if (seconds < 60) return seconds + " s";
  if (seconds < 3600) return Math.floor(seconds / 60) + " min";
  return Math.floor(seconds / 3600) + " h";
}

function tick() {
  const old = Math.max(0, Math.floor((Date.now() + offset - asOf) / 1000));
  const silent = lost || Date.now() - heard > SILENCE;
  const time = document.getElementById("as-of");
  if (time.dateTime !== new Date(asOf).toISOString()) {
    time.dateTime = new Date(asOf).toISOString();
    time.textContent = full(asOf);
  }
  document.getElementById("age").textContent =
    ", " + ago(old) + " ago" + (silent ? "; the connection is lost, and what you see may be old" : "");
  page().classList.toggle("old", silent);
}

// Puts the newer page in place of the shown one. What the reader chose, opened or is on stays so.
function put(html) {
  const next = new DOMParser().parseFromString(html, "text/html");
  const fresh = next.getElementById("page");
  const shown = page();
  if (!fresh) return;
  const of = (element) => element && element.name && `input[name="${element.name}"][value="${element.value}"]`;
  const focused = document.activeElement;
  const back = of(focused) || (focused && focused.id && "#" + CSS.escape(focused.id));
  for (const chosen of shown.querySelectorAll("input:checked")) {
    const same = fresh.querySelector(of(chosen));
    if (same && !chosen.defaultChecked) same.checked = true;
  }
  for (const open of shown.querySelectorAll("article[id] details[open]")) {
    const same = fresh.querySelector("#" + CSS.escape(open.closest("article").id) + " details");
    if (same) same.open = true;
  }
  const before = shown.querySelector(".overall").textContent;
  shown.replaceWith(fresh);
  document.title = next.title;
  asOf = Math.max(asOf, Date.parse(document.getElementById("as-of").dateTime));
  if (back) page().querySelector(back)?.focus({ preventScroll: true });
  const now = fresh.querySelector(".overall").textContent;
  if (now !== before) spoken.textContent = now;
  tick();
}

async function read() {
  if (reading) {
    again = true;
    return;
  }
  reading = true;
  try {
    const answer = await fetch(location.pathname, { cache: "no-cache" });
    // Gone, or only for people who sign in: the browser shows what is there now.
    if (answer.status === 404 || answer.redirected) return location.reload();
    if (answer.ok) put(await answer.text());
  } catch {
    // The connection is lost; the stream of news notices it, too.
  } finally {
    reading = false;
    if (again) {
      again = false;
      read();
    }
  }
}

function listen() {
  clearTimeout(retry);
  source?.close();
  source = new EventSource(page().dataset.events);
  source.onmessage = (event) => {
    const { version, now } = JSON.parse(event.data);
    heard = Date.now();
    lost = false;
    offset = now - heard;
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
    // The browser tries again by itself unless it was refused.
    if (source.readyState === EventSource.CLOSED) {
      retry = setTimeout(() => (read(), listen()), 5_000 + Math.random() * 5_000);
    }
  };
}

// A page that nobody looks at costs nothing: browsers allow a few connections to one place only.
function look() {
  if (document.hidden) {
    clearTimeout(retry);
    source?.close();
    source = undefined;
  } else if (!source) {
    heard = Date.now();
    listen();
  }
}

document.addEventListener("visibilitychange", look);
setInterval(tick, 1_000);
look();
