//! Data access of pages: the HTTP API, called in process.

#[cfg(feature = "ssr")]
mod in_process;

#[cfg(feature = "ssr")]
pub use in_process::InProcessApi;
#[cfg(feature = "ssr")]
pub(crate) use in_process::{call_api, get_text};

use galera::publish::api::ProblemDetails;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The problem reported for a response that cannot be decoded.
#[cfg(feature = "ssr")]
pub(crate) fn unreadable_response() -> ProblemDetails {
    local_problem(
        "unreadable_answer",
        "Unreadable response",
        "Reload the page; it may be older than the console.",
    )
}

/// A problem that did not come from the API.
pub(crate) fn local_problem(code: &str, title: &str, detail: &str) -> ProblemDetails {
    ProblemDetails {
        status: 0,
        code: code.to_owned(),
        title: title.to_owned(),
        detail: detail.to_owned(),
        request_id: String::new(),
    }
}

/// A problem serialized as the API would send it.
#[cfg(feature = "ssr")]
pub(crate) fn problem_json(problem: &ProblemDetails) -> String {
    serde_json::to_string(problem).unwrap_or_default()
}

/// The problem document of an error response, or one derived from its status.
#[cfg(feature = "ssr")]
fn problem_from_response(status: u16, body: &str) -> ProblemDetails {
    serde_json::from_str(body).unwrap_or_else(|_| ProblemDetails {
        status,
        ..local_problem(
            "unexpected_status",
            "Unexpected response",
            &[
                "HTTP status ",
                &status.to_string(),
                ". Reload the page; if the problem persists, check the console's log.",
            ]
            .concat(),
        )
    })
}

/// Sets the HTTP status of the page being rendered.
#[cfg(feature = "ssr")]
pub(crate) fn set_status(status: u16) {
    let code = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    if let Some(response) = leptos::prelude::use_context::<leptos_axum::ResponseOptions>() {
        response.set_status(code);
    }
}

/// A query string of the pairs with a value, in their order.
#[cfg(feature = "ssr")]
pub(crate) fn query_string<V: AsRef<str>>(
    pairs: impl IntoIterator<Item = (&'static str, V)>,
) -> String {
    let pairs: Vec<String> = pairs
        .into_iter()
        .filter(|(_, value)| !value.as_ref().is_empty())
        .map(|(name, value)| format!("{name}={}", encode_segment(value.as_ref())))
        .collect();
    pairs.join("&")
}

/// Percent-encodes one path segment.
pub(crate) fn encode_segment(text: &str) -> String {
    utf8_percent_encode(text, RESERVED_IN_SEGMENT).collect()
}

/// Everything but letters, digits and the punctuation of names and addresses.
const RESERVED_IN_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'.')
    .remove(b'_')
    .remove(b'-')
    .remove(b':');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_percent_encoded() {
        assert_eq!(encode_segment("n1.example-a_b:3306"), "n1.example-a_b:3306");
        assert_eq!(encode_segment("[::1]:3306"), "%5B::1%5D:3306");
        assert_eq!(encode_segment("a/b?c#d é"), "a%2Fb%3Fc%23d%20%C3%A9");
    }
}
