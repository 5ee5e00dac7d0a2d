// Entry of the browser's part of the interface: plain script at once, the islands as soon as their module has loaded.

import './page.js';
import './forms.js';
import './served-part.js';
import './shortcuts.js';
import { tickAges } from './ages.js';
import init, * as module from 'console-module';

/** The islands of the module by component name; its exports append a hash. */
const islands = Object.fromEntries(
  Object.entries(module).map(([name, hydrate]) => [name.replace(/_\d+$/, ''), hydrate]),
);

/** What a page without its module is missing. */
const NO_MODULE = 'Live updates are off: this browser could not run WebAssembly. The data are as of when the page was loaded.';

/** Loads the module from `url`, then hydrates the islands of the page. */
export const start = async (url) => {
  try {
    await init({ module_or_path: url });
  } catch {
    const banner = Object.assign(document.createElement('p'), { className: 'banner', textContent: NO_MODULE });
    document.querySelector('[data-worst]')?.append(banner);
    return;
  }
  module.start();
  for (const island of document.querySelectorAll('leptos-island')) {
    islands[island.dataset.component.replace(/_\d+$/, '')]?.(island);
  }
  addEventListener('popstate', module.urlChanged);
  addEventListener('click', ({ target }) => 'reconnect' in target.dataset && module.retryNow());
  addEventListener('online', module.retryNow);
  // Dispatched on the document, and bubbles to the window.
  addEventListener('visibilitychange', () => {
    if (document.hidden) return;
    globalThis.page.requestUpdate();
    module.retryNow();
  });
  tickAges(module);
};
