//! What an approver sees who followed the link of a notification, before the request is opened.

use galera::Timestamp;
use galera::recover::action::Action;

use super::action_detail::break_glass_notice;
use super::widgets;
use crate::format::absolute;
use crate::marks::action_kind_label;
use crate::markup::{Content, El, el};

/// The title and the content of the page; its form sends `token` to `/approve`.
#[must_use]
pub fn review(action: &Action, token: &str) -> (String, String) {
    let title = format!(
        "{} of {}",
        action_kind_label(action.kind),
        action.cluster.display_name()
    );
    let content = el("section")
        .class("problem")
        .child(el("h1").child(format!("{title} is waiting for approval")))
        .child(break_glass_notice(action))
        .child(facts(action))
        .child(open_form(token));
    (title, content.html())
}

/// The sentence about a link that `by` used at `at`.
#[must_use]
pub fn used_up(by: &str, at: Timestamp) -> String {
    format!(
        "{by} used this link at {}, and it works once. If the request is still waiting for approval, open it in the console.",
        absolute(at)
    )
}

fn facts(action: &Action) -> El {
    let mut pairs: Vec<(&'static str, Content)> = vec![
        ("Requested by", action.requested_by.clone().into()),
        ("Reason", action.reason.clone().into()),
        ("Plan", action.plan.summary.clone().into()),
        (
            "Possible data loss",
            widgets::loss_estimate(&action.plan.loss),
        ),
    ];
    for attestation in &action.attestations {
        let text = format!("{} is {}", attestation.node, attestation.statement);
        pairs.push(("Confirmed by the requester", text.into()));
    }
    if let Some(at) = action.expires_at {
        pairs.push(("Expires", absolute(at).into()));
    }
    widgets::fact_list(pairs)
}

fn open_form(token: &str) -> El {
    widgets::post_form("/approve".to_owned())
        .child(widgets::hidden_field("token", token.to_owned()))
        .child(el("p").child(
            "Opening the request uses up this link and approves nothing. You decide on the next page, which also shows the checks and what has changed since the request.",
        ))
        .child(widgets::button("Open the request".to_owned(), None))
}
