// A page for a screen on the wall, `?wall`: part of the document of such pages only (`app/src/shell.rs`).

/** How often a page that cannot continue is tried again, in milliseconds. */
const RETRY = 20_000;

// Links keep it, but for that of the brand, which leaves it.
addEventListener(
  'click',
  ({ target }) => {
    const link = target.closest?.('a[href]:not(.brand)');
    if (!link || link.origin != location.origin || link.pathname.startsWith('/api/')) return;
    if (/[?&]wall\b/.test(link.search)) return;
    link.search += `${link.search ? '&' : '?'}wall`;
  },
  true,
);

// An ended session and an updated console need a reload, which no person asks for here. The sign-in page leads on as soon as
// another window of this browser has signed in.
setInterval(async () => {
  const isSignIn = location.pathname == '/sign-in';
  if (!isSignIn && !document.getElementById('notice')) return;
  const response = await fetch(location, { method: 'HEAD' }).catch(() => ({}));
  if (isSignIn ? response.redirected : response.ok) location.reload();
}, RETRY);
