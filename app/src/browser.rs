//! What only a browser has: the address bar, the clock, the size of the window.

use galera::Timestamp;
use wasm_bindgen::JsCast;
use web_sys::{Document, HtmlElement, VisibilityState, Window};

fn window() -> Option<Window> {
    web_sys::window()
}

fn document() -> Option<Document> {
    window()?.document()
}

/// The browser's own clock, which may be wrong.
pub(crate) fn clock() -> i64 {
    js_sys::Date::now() as i64
}

/// The server's clock when it made this page.
pub(crate) fn page_made_at() -> Option<Timestamp> {
    let meta = document()?
        .query_selector("meta[name=server-time]")
        .ok()??;
    Timestamp::parse(&meta.get_attribute("content")?)
}

/// Whether somebody can see the page.
pub(crate) fn is_visible() -> bool {
    document().is_some_and(|document| document.visibility_state() == VisibilityState::Visible)
}

/// Width for the content in pixels.
pub(crate) fn content_width() -> Option<u32> {
    let main = document()?.get_element_by_id("main")?;
    u32::try_from(main.client_width()).ok()
}

/// Moves the keyboard to the main content, as loading a new page would.
pub(crate) fn focus_main() {
    let main = document().and_then(|document| document.get_element_by_id("main"));
    if let Some(main) = main.and_then(|element| element.dyn_into::<HtmlElement>().ok()) {
        // Refused only by elements that cannot be focused.
        let _ = main.focus();
    }
}

/// Leaves for the sign-in page, to come back here afterwards.
pub(crate) fn go_to_sign_in() {
    let Some(location) = window().map(|window| window.location()) else {
        return;
    };
    let here = [location.pathname(), location.search()]
        .into_iter()
        .filter_map(Result::ok)
        .collect::<String>();
    let next = String::from(js_sys::encode_uri_component(&here));
    // Refused only while another navigation is under way.
    let _ = location.set_href(&["/sign-in?next=", &next].concat());
}

/// The address of the live channel.
pub(crate) fn live_address() -> Option<String> {
    let origin = window()?.location().origin().ok()?;
    // http becomes ws, https becomes wss.
    Some(origin.replacen("http", "ws", 1) + "/api/v1/live")
}
