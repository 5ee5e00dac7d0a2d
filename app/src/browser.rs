//! Browser-only APIs: location, clock, window size, forms.

use galera::Timestamp;
use wasm_bindgen::JsCast;
use web_sys::{Document, HtmlElement, VisibilityState, Window};

fn window() -> Option<Window> {
    web_sys::window()
}

fn document() -> Option<Document> {
    window()?.document()
}

/// The browser's clock in Unix milliseconds. It may be wrong.
pub(crate) fn now_millis() -> i64 {
    js_sys::Date::now() as i64
}

/// The server's clock when it rendered this page.
pub(crate) fn page_rendered_at() -> Option<Timestamp> {
    let meta = document()?
        .query_selector("meta[name=server-time]")
        .ok()??;
    Timestamp::parse(&meta.get_attribute("content")?)
}

pub(crate) fn is_visible() -> bool {
    document().is_some_and(|document| document.visibility_state() == VisibilityState::Visible)
}

/// Width of the main content in CSS pixels; half of it on a wall, so that drawings are twice as large.
pub(crate) fn content_width() -> Option<u32> {
    let main = document()?.get_element_by_id("main")?;
    let wall = document()?.query_selector(".wall").ok()?.is_some();
    u32::try_from(main.client_width() >> u32::from(wall)).ok()
}

/// Moves keyboard focus to the main content, as loading a new page would.
pub(crate) fn focus_main() {
    let main = document().and_then(|document| document.get_element_by_id("main"));
    if let Some(main) = main.and_then(|element| element.dyn_into::<HtmlElement>().ok()) {
        // Fails only for elements that cannot be focused.
        let _ = main.focus();
    }
}

/// Redirects to the sign-in page, which returns here afterwards; not while the user signs out (`enhance.js`).
pub(crate) fn redirect_to_sign_in() {
    let body = document().and_then(|document| document.body());
    if body.is_some_and(|body| body.has_attribute("data-leaving")) {
        return;
    }
    let Some(location) = window().map(|window| window.location()) else {
        return;
    };
    let here = [location.pathname(), location.search()]
        .into_iter()
        .filter_map(Result::ok)
        .collect::<String>();
    let next = String::from(js_sys::encode_uri_component(&here));
    // Fails only while another navigation is in progress.
    let _ = location.set_href(&["/sign-in?error=session_ended&next=", &next].concat());
}

/// URL of the live WebSocket.
pub(crate) fn live_socket_url() -> Option<String> {
    let origin = window()?.location().origin().ok()?;
    // http becomes ws, https becomes wss.
    Some(origin.replacen("http", "ws", 1) + "/api/v1/live")
}

/// Updates the ages in server-rendered HTML to `now`.
pub(crate) fn update_ages(now: Timestamp) {
    let Some(times) =
        document().and_then(|document| document.query_selector_all("time[data-age]").ok())
    else {
        return;
    };
    for index in 0..times.length() {
        let element = times
            .get(index)
            .and_then(|node| node.dyn_into::<web_sys::Element>().ok());
        let Some(element) = element else {
            continue;
        };
        let attribute = |name: &str| element.get_attribute(name).unwrap_or_default();
        if let Some(at) = Timestamp::parse(&attribute("datetime")) {
            let (suffix, age) = (attribute("data-age"), now.unix_millis() - at.unix_millis());
            // An empty `data-age` marks a point in the future.
            let age = crate::format::age(if suffix.is_empty() { -age } else { age });
            let text = [age.as_str(), &suffix].concat();
            let name = [&text, ", ", &attribute("title")].concat();
            element.set_text_content(Some(&text));
            // Fails only for invalid attribute names.
            let _ = element.set_attribute("aria-label", &name);
        }
    }
}
