//! The console's signed webhook format.

use aws_lc_rs::hmac;
use bytes::Bytes;
use galera::Timestamp;
use galera::publish::notification::Notification;
use http::{HeaderMap, HeaderValue};
use serde::Serialize;

/// The notification's ID. It is the same for every attempt, so receivers can detect repetitions.
pub(super) const ID_HEADER: &str = "galera-console-id";
/// `t=SECONDS,v1=HEX`: HMAC-SHA256 under the target's secret of `SECONDS.BODY`.
pub(super) const SIGNATURE_HEADER: &str = "galera-console-signature";

#[derive(Serialize)]
struct WebhookBody<'a> {
    version: u32,
    #[serde(flatten)]
    notice: &'a Notification,
    url: &'a str,
    /// The link by which an approver opens the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    approval_url: Option<&'a str>,
}

/// The notification with its link, and that of a request, as JSON.
pub(super) fn body(notification: &Notification, link: &str, approve: Option<&str>) -> Bytes {
    let message = WebhookBody {
        version: 1,
        notice: notification,
        url: link,
        approval_url: approve,
    };
    Bytes::from(serde_json::to_vec(&message).unwrap_or_default())
}

/// The headers of a message with the ID `id`, signed at `at`.
pub(crate) fn headers(secret: &str, id: &str, body: &[u8], at: Timestamp) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let signature = signature(secret, body, at.unix_millis() / 1_000);
    for (name, text) in [(ID_HEADER, id), (SIGNATURE_HEADER, &signature)] {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
    headers
}

fn signature(secret: &str, body: &[u8], seconds: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(seconds.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    let tag = context.sign();
    let hex: String = tag
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("t={seconds},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_matches_openssl() {
        // printf '1795420800.{"id":"x"}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let expected =
            "t=1795420800,v1=12dedc6ec720fc0fffaffbc95e1ea6753559e713d1f6aa393455d396ebb3f408";
        assert_eq!(
            signature("0123456789abcdef", br#"{"id":"x"}"#, 1_795_420_800),
            expected
        );
    }
}
