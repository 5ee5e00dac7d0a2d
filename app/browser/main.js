// Entry of the browser's part of the interface: plain script at once, the islands as soon as their module has loaded.

import './page.js';
import './forms.js';
import './served-part.js';
import { tickAges } from './ages.js';
import init, * as module from 'console-module';

/** The islands of the module by component name; its exports append a hash. */
const islands = Object.fromEntries(
  Object.entries(module).map(([name, hydrate]) => [name.replace(/_\d+$/, ''), hydrate]),
);

/** Loads the module from `url`, then hydrates the islands of the page. */
export const start = async (url) => {
  await init({ module_or_path: url });
  module.start();
  for (const island of document.querySelectorAll('leptos-island')) {
    islands[island.dataset.component.replace(/_\d+$/, '')]?.(island);
  }
  addEventListener('popstate', module.urlChanged);
  addEventListener('click', ({ target }) => 'reconnect' in target.dataset && module.retryNow());
  tickAges(module);
};
