//! Browser side of data access: `fetch`, aborted when its result is no longer needed.

use std::future::Future;

use galera::publish::api::ProblemDetails;
use leptos::prelude::on_cleanup;
use send_wrapper::SendWrapper;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, RequestInit, Response};

use super::{local_problem, problem_from_response};
use crate::browser;

/// Fetches a response body as text. Redirects to the sign-in page if the session has ended. With `until_cleanup`, the
/// request is aborted when the current reactive owner is cleaned up.
pub(crate) fn get_text(
    path: String,
    until_cleanup: bool,
) -> impl Future<Output = Result<String, ProblemDetails>> + Send {
    let options = RequestInit::new();
    if until_cleanup && let Ok(controller) = AbortController::new() {
        options.set_signal(Some(&controller.signal()));
        let controller = SendWrapper::new(controller);
        on_cleanup(move || controller.abort());
    }
    SendWrapper::new(async move {
        let (status, text) = fetch(&path, &options)
            .await
            .map_err(|_| console_unreachable())?;
        match status {
            200..300 => Ok(text),
            401 => {
                browser::redirect_to_sign_in();
                Err(problem_from_response(status, &text))
            }
            _ => Err(problem_from_response(status, &text)),
        }
    })
}

async fn fetch(path: &str, options: &RequestInit) -> Result<(u16, String), JsValue> {
    let window = web_sys::window().ok_or(JsValue::NULL)?;
    let response: Response = JsFuture::from(window.fetch_with_str_and_init(path, options))
        .await?
        .dyn_into()?;
    let text = JsFuture::from(response.text()?).await?;
    Ok((response.status(), text.as_string().unwrap_or_default()))
}

fn console_unreachable() -> ProblemDetails {
    local_problem(
        "console_unreachable",
        "Console unreachable",
        "Check your connection; the page retries once it is back.",
    )
}

/// Whether the server rejects the session. A network error does not count.
pub(crate) async fn session_has_ended() -> bool {
    let response = fetch("/api/v1/session", &RequestInit::new()).await;
    matches!(response, Ok((401, _)))
}
