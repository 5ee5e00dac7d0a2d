//! The link by which an approver opens a requested action, in the notification about it.

use std::sync::Arc;

use console_core::approval_link::{ApprovalLink, ApprovalLinkSeals};
use console_core::net::PublicUrl;
use futures::future::BoxFuture;
use galera::publish::notification::{Notification, NotificationKind};
use galera::recover::plan::PlanDigest;
use galera::{ActionId, Timestamp};
use registry::Registry;

use super::NotifySettings;

/// A request as far as its link depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestToApprove {
    /// The digest of the requested plan.
    pub digest: PlanDigest,
    /// Until when a link to it is accepted.
    pub expires_at: Timestamp,
}

/// Reads requests that wait for approval.
pub trait ApprovalLinkSource: Send + Sync {
    /// The request of `action`; `None` if it does not wait for approval, or cannot be read now.
    fn request_to_approve<'a>(
        &'a self,
        action: &'a ActionId,
    ) -> BoxFuture<'a, Option<RequestToApprove>>;
}

/// Makes the links. They are made for each attempt: one that was queued when the request waited is not sent once it is decided.
#[derive(Clone)]
pub(super) struct ApprovalLinkMaker {
    source: Arc<dyn ApprovalLinkSource>,
    seals: ApprovalLinkSeals,
    public_url: PublicUrl,
}

impl ApprovalLinkMaker {
    /// `None` if links are off, or cannot be made without a public URL or a state secret.
    pub(super) fn new(settings: &NotifySettings, registry: &Registry) -> Option<Self> {
        let seals = ApprovalLinkSeals::of(registry);
        if !seals.are_available() {
            return None;
        }
        Some(Self {
            source: Arc::clone(settings.approval_links.as_ref()?),
            seals,
            public_url: settings.public_url.clone()?,
        })
    }

    /// The link for `notification` to the target `target`, if it is about a request that waits for approval.
    pub(super) async fn link(&self, notification: &Notification, target: &str) -> Option<String> {
        if notification.kind != NotificationKind::ActionRequested {
            return None;
        }
        let action = &notification.action.as_ref()?.id;
        let request = self.source.request_to_approve(action).await?;
        let link = ApprovalLink {
            action: action.clone(),
            target: target.to_owned(),
            expires_at: request.expires_at,
        };
        let token = self.seals.token(&link, &request.digest)?;
        Some(format!("{}/approve/{token}", self.public_url))
    }
}

/// `text` without the token of `link`, also if `text` ends within its tag.
pub(super) fn without_token(text: &str, link: &str) -> String {
    let token = link.rsplit('/').next().unwrap_or(link);
    let named = token.rfind('.').map_or(token, |dot| &token[..=dot]);
    let mut parts = text.split(named);
    let mut redacted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        redacted.push_str("[token]");
        redacted.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    redacted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_that_repeats_the_link_is_recorded_without_it() {
        let token = "00ff.019a00000001-00000001.0123456789ab.1795421700000.abcdef0123";
        let link = format!("https://console.example.org/approve/{token}");
        let cases = [
            (
                format!("got {link}, {token}!"),
                "got https://console.example.org/approve/[token], [token]!",
            ),
            (token[..token.len() - 3].to_owned(), "[token]"),
            ("ok".to_owned(), "ok"),
            (String::new(), ""),
        ];
        for (text, expected) in cases {
            assert_eq!(without_token(&text, &link), expected);
        }
    }
}
