// Forms of served pages and filters. Everything here works without it, as plain links and forms.

import { signIn } from './page.js';

const REFUSAL = 'refusal';
const DRAFT = 'draft:';
/** Fields whose text survives a reload or a sign-in. None of them is a secret, a confirmation or an attestation. */
const DRAFT_FIELDS = ['reason', 'comment', 'title', 'text', 'name', 'clusters'];

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
    if (response.status == 401) return signIn();
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

// Filters apply while typing. They are kept in the URL, which islands and the served part follow.

let typing;
addEventListener('input', ({ target: { form } }) => {
  if (form?.role != 'search' || form.closest('dialog')) return;
  clearTimeout(typing);
  typing = setTimeout(() => {
    const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    history.replaceState(history.state, '', `?${query}`);
    dispatchEvent(new PopStateEvent('popstate'));
  }, 150);
});

// What was typed is kept in the tab until it is sent or the user signs out, also while other pages are shown.

const drafts = () =>
  servedForms().flatMap((form) =>
    DRAFT_FIELDS.map((name) => form.elements[name])
      .filter((input) => input?.id && input.value != input.defaultValue)
      .map(({ id, value }) => [id, value]),
  );
const withStorage = (use) => {
  try {
    return use(sessionStorage);
  } catch {
    // Blocked by the browser: drafts end with the page.
    return undefined;
  }
};
addEventListener('pagehide', () => {
  if (location.pathname == '/sign-in') return;
  const fields = drafts();
  withStorage((storage) => {
    const key = DRAFT + here();
    if ('leaving' in document.body.dataset) storage.clear();
    else if (fields.length) storage.setItem(key, JSON.stringify(fields));
    else storage.removeItem(key);
  });
});
const kept = withStorage((storage) => storage.getItem(DRAFT + here()));
for (const [id, value] of JSON.parse(kept ?? '[]')) {
  const input = document.getElementById(id);
  if (input) input.value = value;
}
