//! What islands need of the browser, from the plain scripts in `app/browser`: the URL, the clock, the page's elements.

use galera::Timestamp;
use js_sys::Function;
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::Element;

#[wasm_bindgen]
extern "C" {
    /// Makes `element` equal to `html`; focus, selection and typed text stay.
    #[wasm_bindgen(js_namespace = page)]
    pub(crate) fn morph(element: &Element, html: &str);

    /// Sets the window title to `prefix` and `text`, or the title that came with the page.
    #[wasm_bindgen(js_namespace = page, js_name = setTitle)]
    pub(crate) fn set_title(prefix: &str, text: Option<String>);

    /// Marks the content as out of date. Links to other pages wait while the console is `lost`.
    #[wasm_bindgen(js_namespace = page, js_name = setConnection)]
    pub(crate) fn set_connection(lost: bool, stale: bool);

    /// Path of the URL.
    #[wasm_bindgen(js_namespace = page)]
    pub(crate) fn path() -> String;

    /// Query of the URL without its question mark.
    #[wasm_bindgen(js_namespace = page)]
    pub(crate) fn query() -> String;

    /// What people call the cluster with this name, which the server validated.
    #[wasm_bindgen(js_namespace = page, js_name = clusterLabel)]
    pub(crate) fn cluster_label(name: &str) -> String;

    /// Calls `update` once a second and after [`request_update`], with pauses of twice the time that showing took.
    #[wasm_bindgen(js_namespace = page, js_name = startUpdates)]
    pub(crate) fn start_updates(update: &Function);

    /// Requests an update. Requests during an update or the pause after it become one.
    #[wasm_bindgen(js_namespace = page, js_name = requestUpdate)]
    pub(crate) fn request_update();

    /// Reports a change of the document of `topic`; `calm` is a cluster that serves.
    #[wasm_bindgen(js_namespace = page, js_name = topicChanged)]
    pub(crate) fn topic_changed(topic: &str, is_first: bool, calm: bool);

    /// The clock of the server when it rendered the page.
    #[wasm_bindgen(js_namespace = page, js_name = renderedAt)]
    fn rendered_at() -> String;

    /// Leads to the sign-in page, which returns here afterwards.
    #[wasm_bindgen(js_namespace = page, js_name = signIn)]
    pub(crate) fn redirect_to_sign_in();

    /// Leads to the sign-in page if the server rejects the session. A network error does not count.
    #[wasm_bindgen(js_namespace = page, js_name = checkSession)]
    pub(crate) fn check_session();

    /// URL of the live WebSocket.
    #[wasm_bindgen(js_namespace = page, js_name = liveUrl)]
    pub(crate) fn live_socket_url() -> String;
}

/// The browser's clock in Unix milliseconds. It may be wrong.
pub(crate) fn now_millis() -> i64 {
    js_sys::Date::now() as i64
}

/// The server's clock when it rendered this page.
pub(crate) fn page_rendered_at() -> Option<Timestamp> {
    Timestamp::parse(&rendered_at())
}
