//! The WebAssembly entry point. The islands are exported by `app`; `app/browser/main.js` hydrates them.

/// Called once by the page's script, before the islands are hydrated.
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn start() {
    std::panic::set_hook(Box::new(|info| leptos::logging::error!("{info}")));
    app::browser_app::start();
}
