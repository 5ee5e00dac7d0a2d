//! Messages for incoming webhooks of Slack and compatible services.

use bytes::Bytes;
use galera::publish::notification::text::truncate;
use galera::publish::notification::{Notification, Severity};
use serde_json::json;

/// Maximum length of a block's text; Slack refuses 3000 characters.
const BLOCK_MAX: usize = 2_900;

/// The message: a line for push notifications, and blocks for the opened message.
pub(super) fn body(notification: &Notification, link: Option<String>) -> Bytes {
    let title = escape_mrkdwn(&notification.title);
    let severity = match notification.severity {
        Severity::Info => "Info",
        Severity::Warning => "Warning",
        Severity::Critical => "Critical",
    };
    let mut text = format!("*{severity}: {title}*");
    if !notification.text.is_empty() {
        text.push('\n');
        text.push_str(&escape_mrkdwn(&notification.text));
    }
    let mut context = notification.at.to_string();
    if let Some(link) = link {
        context.push_str(&format!(" · <{link}|Open in Galera Console>"));
    }
    let message = json!({
        "text": format!("{severity}: {title}"),
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": truncate(&text, BLOCK_MAX)}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": context}]},
        ],
    });
    Bytes::from(message.to_string())
}

/// Escapes `<…>`, which Slack reads as links and mentions: text from users must not mention a channel.
fn escape_mrkdwn(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_text_cannot_mention_a_channel() {
        assert_eq!(
            escape_mrkdwn("<!channel> a & b"),
            "&lt;!channel&gt; a &amp; b"
        );
    }
}
