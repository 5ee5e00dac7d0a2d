//! Messages for incoming webhooks of Slack and compatible services.

use bytes::Bytes;
use galera::publish::notification::text::truncate;
use galera::publish::notification::{Notification, Severity};
use serde_json::json;

/// Maximum length of a block's text; Slack refuses 3000 characters.
const BLOCK_MAX: usize = 2_900;
/// The text of the link to a request. It decides nothing.
pub(super) const REVIEW: &str = "Review and decide";

/// The message: a line for push notifications and for services without blocks, and blocks for the opened message. `approve` is
/// the link of a request, shown as a button.
pub(super) fn body(
    notification: &Notification,
    link: Option<String>,
    approve: Option<&str>,
) -> Bytes {
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
    let mut blocks = vec![
        json!({"type": "section", "text": {"type": "mrkdwn", "text": truncate(&text, BLOCK_MAX)}}),
        json!({"type": "context", "elements": [{"type": "mrkdwn", "text": context}]}),
    ];
    let mut line = format!("{severity}: {title}");
    if let Some(approve) = approve {
        line.push_str(&format!("\n<{approve}|{REVIEW}>"));
        let button = json!({
            "type": "button", "style": "primary", "url": approve, "action_id": "open_approval_link",
            "text": {"type": "plain_text", "text": REVIEW},
        });
        blocks.insert(1, json!({"type": "actions", "elements": [button]}));
    }
    let mut message = json!({"text": line, "blocks": blocks});
    if approve.is_some() {
        // A preview of the link would show the sign-in page.
        message["unfurl_links"] = false.into();
    }
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
