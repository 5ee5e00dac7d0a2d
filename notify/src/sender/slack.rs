//! An incoming webhook as Slack takes it, and those who took its shape over.

use bytes::Bytes;
use galera::publish::notification::text::truncate;
use galera::publish::notification::{Notification, Severity};
use serde_json::json;

/// Longest text of a block; Slack refuses 3000 characters.
const BLOCK_MAX: usize = 2_900;

/// The message: a line for notifications, and blocks for who opens it.
pub(super) fn body(notice: &Notification, link: Option<String>) -> Bytes {
    let title = escape_mrkdwn(&notice.title);
    let word = match notice.severity {
        Severity::Info => "Info",
        Severity::Warning => "Warning",
        Severity::Critical => "Critical",
    };
    let mut text = format!("*{word}: {title}*");
    if !notice.text.is_empty() {
        text.push('\n');
        text.push_str(&escape_mrkdwn(&notice.text));
    }
    let mut context = notice.at.to_string();
    if let Some(link) = link {
        context.push_str(&format!(" · <{link}|Open in Galera Console>"));
    }
    let message = json!({
        "text": format!("{word}: {title}"),
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": truncate(&text, BLOCK_MAX)}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": context}]},
        ],
    });
    Bytes::from(message.to_string())
}

/// Slack reads `<…>` as links and mentions: what others wrote must not call everybody.
fn escape_mrkdwn(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_mentions_nobody() {
        assert_eq!(
            escape_mrkdwn("<!channel> a & b"),
            "&lt;!channel&gt; a &amp; b"
        );
    }
}
