// Times in the browser's time zone, for readers who chose that (account page). Pages are rendered with UTC, so that text that is
// copied without script, exported or printed by the console means the same everywhere.

const isLocal = document.documentElement.dataset.time == 'local';

/** Every time that the console renders: with a date, or with the clock alone where it is of the day of the page. */
const UTC = /(?:(\d{4}-\d\d-\d\d) )?(\d\d:\d\d:\d\d) UTC/g;

const two = '2-digit';
/** The Swedish locale has the format of the console. */
const format =
  isLocal &&
  new Intl.DateTimeFormat('sv', {
    year: 'numeric',
    month: two,
    day: two,
    hour: two,
    minute: two,
    second: two,
    timeZoneName: 'shortOffset',
  });
const today = () => new Date().toISOString().slice(0, 10);
const toLocal = (text, date, clock) => {
  const time = new Date(`${date ?? today()}T${clock}Z`);
  // Text that people or servers wrote may only look like a time.
  if (isNaN(time)) return text;
  const local = format.format(time);
  return date ? local : local.slice(11);
};
const convert = (text) => text.replace(UTC, toLocal);

/** Replaces the UTC times in `root`, but for code, which may be compared with logs. */
export const localize = (root) => {
  if (!isLocal) return;
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode;
    if (node.data.includes(' UTC') && !node.parentElement.closest('code, pre, script')) node.data = convert(node.data);
  }
  for (const time of root.querySelectorAll('time[title]')) time.title = convert(time.title);
  // Labels of an axis are too short to name their zone.
  for (const label of root.querySelectorAll('[data-utc]')) {
    const local = convert(label.dataset.utc);
    label.textContent = label.textContent.includes(':') ? local.slice(11, 16) : local.slice(5, 10);
  }
};
