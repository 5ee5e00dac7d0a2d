//! The session cookie.

use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// The cookie's name. Over https it has the prefix that makes browsers reject a cookie set by another host or path.
pub(super) const fn name(https: bool) -> &'static str {
    if https {
        "__Host-galera_console_session"
    } else {
        "galera_console_session"
    }
}

/// The session token of a request.
pub(super) fn token(headers: &HeaderMap, https: bool) -> Option<&str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name(https))
        .map(|(_, value)| value)
}

/// The `Set-Cookie` value that stores the token for `lifetime`.
pub(super) fn set(token: &str, lifetime: Duration, https: bool) -> Option<HeaderValue> {
    header_value(token, lifetime.as_millis().div_ceil(1000), https)
}

/// The `Set-Cookie` value that removes the token.
pub(super) fn clear(https: bool) -> Option<HeaderValue> {
    header_value("", 0, https)
}

fn header_value(token: &str, seconds: u128, https: bool) -> Option<HeaderValue> {
    let secure = if https { "; Secure" } else { "" };
    let text = format!(
        "{}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}",
        name(https)
    );
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_round_trips() {
        for https in [false, true] {
            let header = set("a.b.c", Duration::from_secs(60), https).unwrap();
            let text = header.to_str().unwrap();
            assert!(
                text.contains("; Path=/; Max-Age=60; HttpOnly; SameSite=Strict"),
                "{text}"
            );
            assert_eq!(text.ends_with("; Secure"), https, "{text}");
            let mut headers = HeaderMap::new();
            headers.append(COOKIE, HeaderValue::from_static("theme=dark; other=1"));
            headers.append(
                COOKIE,
                HeaderValue::from_str(text.split(';').next().unwrap()).unwrap(),
            );
            assert_eq!(token(&headers, https), Some("a.b.c"));
            assert_eq!(token(&headers, !https), None);
        }
    }
}
