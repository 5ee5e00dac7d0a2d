import './live-documents.js';

// Progressive enhancement of the served pages: everything here works without it, as plain links and forms.

const REFUSAL = 'refusal';
const DRAFT = 'draft';
/** Fields whose text survives a reload or a sign-in. None of them is a secret, a confirmation or an attestation. */
const DRAFT_FIELDS = ['reason', 'comment', 'title', 'text'];

const here = () => location.pathname + location.search;
const servedForms = () => [...document.forms].filter((form) => form.method == 'post' && form.closest('main .page'));

// Forms are submitted in place, so that a refusal appears at its field and nothing typed is lost.

const withdrawRefusal = () => {
  document.getElementById(REFUSAL)?.remove();
  document.querySelectorAll('[aria-errormessage]').forEach((input) => {
    input.removeAttribute('aria-invalid');
    input.removeAttribute('aria-errormessage');
  });
};

const showRefusal = (form, { title, detail, field }) => {
  const input = field && form.querySelector(`[name="${field}"]:not([type=hidden])`);
  const text = document.createElement('p');
  Object.assign(text, { id: REFUSAL, className: 'error', role: 'alert', tabIndex: -1 });
  text.textContent = input ? detail : `${title}: ${detail}`;
  (input?.closest('.field') ?? form).append(text);
  input?.setAttribute('aria-invalid', 'true');
  input?.setAttribute('aria-errormessage', REFUSAL);
  (input ?? text).focus();
};

const submit = async (form, button) => {
  withdrawRefusal();
  let problem = { title: 'Console unreachable', detail: 'Nothing was changed. Check your connection, then try again.' };
  try {
    const action = button?.getAttribute('formaction') ?? form.getAttribute('action');
    const response = await fetch(action, { method: 'POST', body: new URLSearchParams(new FormData(form)) });
    const text = await response.text();
    if (response.ok) {
      form.reset();
      return location.assign(text);
    }
    if (response.status == 401) return location.assign(`/sign-in?error=session_ended&next=${encodeURIComponent(here())}`);
    problem = JSON.parse(text);
  } catch {
    // No response, or none of the console.
  }
  form.busy = false;
  showRefusal(form, problem);
};

addEventListener('submit', (event) => {
  const form = event.target;
  if (!servedForms().includes(form)) {
    // Signing out may lead to the identity provider: the session that ends meanwhile leads nowhere else.
    if (form.method == 'post') {
      document.body.dataset.leaving = '';
      setTimeout(() => delete document.body.dataset.leaving, 10_000);
    }
    return;
  }
  event.preventDefault();
  if (form.busy) return;
  form.busy = true;
  submit(form, event.submitter);
});
addEventListener('input', withdrawRefusal);

// Filters apply while typing. They are kept in the URL, which the application follows.

let typing;
addEventListener('input', ({ target: { form } }) => {
  if (form?.role != 'search') return;
  clearTimeout(typing);
  typing = setTimeout(() => {
    const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    history.replaceState(history.state, '', `?${query}`);
    dispatchEvent(new PopStateEvent('popstate'));
  }, 150);
});

// Going back returns to the position of the page, whose content may arrive later than the browser expects.

const positions = {};
addEventListener('scroll', () => (positions[location.href] = scrollY), { passive: true });
addEventListener('popstate', ({ isTrusted }) => {
  const top = isTrusted && positions[location.href];
  const end = Date.now() + 500;
  const restore = () => {
    scrollTo(0, top);
    if (Date.now() < end) requestAnimationFrame(restore);
  };
  if (top) restore();
});

// What was typed is kept in the tab while its page is reloaded, also through the sign-in page after a session has ended.

const drafts = () =>
  servedForms().flatMap((form) =>
    DRAFT_FIELDS.map((name) => form.elements[name])
      .filter((input) => input?.id && input.value != input.defaultValue)
      .map(({ id, value }) => [id, value]),
  );
addEventListener('pagehide', () => {
  if (location.pathname != '/sign-in') sessionStorage.setItem(DRAFT, JSON.stringify([here(), drafts()]));
});
if (location.pathname != '/sign-in') {
  const [path, fields] = JSON.parse(sessionStorage.getItem(DRAFT)) ?? [];
  sessionStorage.removeItem(DRAFT);
  if (path == here())
    for (const [id, value] of fields) {
      const input = document.getElementById(id);
      if (input) input.value = value;
    }
}

// The icon of the tab follows the worst status, which every page has.

const icon = document.querySelector('link[rel=icon]');
const paintIcon = () => {
  const { worst } = document.querySelector('[data-worst]')?.dataset ?? {};
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
