// Notifications of the browser about the worst status, by choice on the account page.

// A browser may block storage, and phones notify through service workers only.
const read = () => {
  try {
    return localStorage.notify;
  } catch {
    // Blocked: off.
  }
};

const button = document.querySelector('[data-notify]');
const label = () => {
  if (!button) return;
  const isPossible = 'Notification' in globalThis && Notification.permission != 'denied';
  button.disabled = !isPossible;
  button.textContent = !isPossible ? 'Blocked by this browser' : read() ? 'Turn off' : 'Turn on';
};
button?.addEventListener('click', async () => {
  const permission = read() ? '' : await Notification.requestPermission();
  try {
    if (permission == 'granted') localStorage.notify = 1;
    else delete localStorage.notify;
  } catch {
    // Blocked: the choice stays off.
  }
  label();
});
label();

const TITLES = { bad: 'No Primary or worse', off: 'No updates from the console', '': 'All clusters healthy' };

/** Notifies when the worst status becomes `worst`, also from one page to the next; the first one of a tab is only remembered. */
export const notify = (worst, text) => {
  try {
    const before = sessionStorage.worst;
    // A status that was not notified of needs no all-clear.
    if (worst == 'warn' && !before) worst = '';
    sessionStorage.worst = worst;
    if (before === undefined || before == worst || !(worst in TITLES) || !read()) return;
    // One notification for all tabs.
    new Notification(TITLES[worst], { body: text, tag: 'galera-console' });
  } catch {
    // Not possible here.
  }
};
