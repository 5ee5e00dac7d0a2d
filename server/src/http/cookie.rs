//! The cookies: of the session, and of a device that is known to an account.

use std::time::Duration;

use accounts::DeviceToken;
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

/// The cookie by which an account knows a device; the suffix is the account's.
fn device_name(suffix: &str, https: bool) -> String {
    let prefix = if https { "__Host-" } else { "" };
    format!("{prefix}galera_console_device_{suffix}")
}

/// The session token of a request.
pub(super) fn token(headers: &HeaderMap, https: bool) -> Option<&str> {
    value(headers, name(https))
}

/// The device tokens of a request, of whichever accounts; few, since each is verified.
pub(super) fn devices(headers: &HeaderMap) -> Vec<String> {
    let cookies = pairs(headers).filter(|(name, _)| {
        let name = name.strip_prefix("__Host-").unwrap_or(name);
        name.starts_with("galera_console_device_")
    });
    cookies
        .take(DEVICES_MAX)
        .map(|(_, token)| token.to_owned())
        .collect()
}

/// How many cookies of a request have this name.
pub(super) fn count(headers: &HeaderMap, name: &str) -> usize {
    let values = headers.get_all(COOKIE).iter();
    let pairs = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs
        .filter(|pair| {
            let key = pair.split(|byte| *byte == b'=').next();
            key.is_some_and(|key| key.trim_ascii() == name.as_bytes()) && pair.contains(&b'=')
        })
        .count()
}

fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    pairs(headers)
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// The cookies of a request.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}

/// Device tokens of a request that are verified.
const DEVICES_MAX: usize = 10;

/// The `Set-Cookie` value that stores the token for `lifetime`.
pub(super) fn set(token: &str, lifetime: Duration, https: bool) -> Option<HeaderValue> {
    let seconds = lifetime.as_millis().div_ceil(1000);
    header_value(name(https), token, seconds, https)
}

/// The `Set-Cookie` value that makes the device known to the account.
pub(super) fn set_device(device: &DeviceToken, https: bool) -> Option<HeaderValue> {
    let name = device_name(&device.cookie_suffix, https);
    header_value(
        &name,
        &device.token,
        device.lifetime.as_secs().into(),
        https,
    )
}

/// The `Set-Cookie` value that keeps a choice of this browser, such as the color scheme, for a year, or removes it.
pub(super) fn set_choice(name: &str, choice: Option<&str>, https: bool) -> Option<HeaderValue> {
    const YEAR_SECONDS: u128 = 365 * 86_400;
    let prefix = if https { "__Host-" } else { "" };
    let seconds = choice.map_or(0, |_| YEAR_SECONDS);
    header_value(
        &format!("{prefix}{name}"),
        choice.unwrap_or_default(),
        seconds,
        https,
    )
}

/// The cookie of a sign-in with the identity provider.
fn login_name(https: bool) -> &'static str {
    match https {
        true => "__Host-galera_console_login",
        false => "galera_console_login",
    }
}

/// The sealed sign-in of a request.
pub(super) fn login(headers: &HeaderMap, https: bool) -> Option<&str> {
    value(headers, login_name(https))
}

/// The `Set-Cookie` value that keeps a sign-in while its user is at the identity provider, or removes it. The provider sends the
/// browser back from another site, so it is `SameSite=Lax`.
pub(super) fn set_login(sealed: Option<&str>, https: bool) -> Option<HeaderValue> {
    let secure = if https { "; Secure" } else { "" };
    let seconds = sealed.map_or(0, |_| crate::sign_on::LOGIN_LIFETIME.as_secs());
    let (name, text) = (login_name(https), sealed.unwrap_or_default());
    let text = format!("{name}={text}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&text).ok()
}

/// The `Set-Cookie` value that removes the token.
pub(super) fn clear(https: bool) -> Option<HeaderValue> {
    header_value(name(https), "", 0, https)
}

fn header_value(name: &str, token: &str, seconds: u128, https: bool) -> Option<HeaderValue> {
    let secure = if https { "; Secure" } else { "" };
    let text =
        format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
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
