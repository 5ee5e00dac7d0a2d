//! An action as it was requested, decided and carried out, with times instead of ages.

use galera::Timestamp;
use galera::recover::action::Action;

use crate::format::{absolute, code, quiet, sub};
use crate::fragments::action_detail::{break_glass_notice, step_table, target_facts};
use crate::fragments::widgets::{check_table, checks_passed, fact_list};
use crate::marks::{action_kind_label, action_mark, state_badge};
use crate::markup::{Content, El, el};

pub(super) fn article(action: &Action) -> El {
    let title = format!("{} of {}", action_kind_label(action.kind), action.cluster);
    let outcome = action
        .outcome
        .clone()
        .map(|outcome| el("p").class("outcome").child(outcome));
    let checks = el("details")
        .child(el("summary").child(format!("Requested plan: {}", checks_passed(&action.plan))))
        .child(check_table(&action.plan.checks, action.requested_at));
    el("article")
        .class("entry-group")
        .child(
            el("h3")
                .child(title)
                .child(" ")
                .child(state_badge(action_mark(action.state))),
        )
        .child(outcome)
        .child(facts(action))
        .child(break_glass_notice(action))
        .child(target_facts(action))
        .child(step_table(action, |at| el("span").child(absolute(at))))
        .child(checks)
        .child(journal(action))
}

fn facts(action: &Action) -> El {
    let by = |who: &str, at: Timestamp, comment: Option<&str>| -> Content {
        let comment = comment.map(|comment| sub(comment.to_owned()));
        Content::Many(vec![
            format!("{who}, {}", absolute(at)).into(),
            comment.into(),
        ])
    };
    let mut pairs = vec![
        (
            "Requested by",
            by(&action.requested_by, action.requested_at, None),
        ),
        ("Reason", action.reason.clone().into()),
    ];
    for approval in &action.approvals {
        let comment = approval.comment.as_deref();
        pairs.push(("Approved by", by(&approval.by, approval.at, comment)));
    }
    if let Some(execution) = &action.execution {
        let replica = execution.replica.as_str();
        pairs.push(("Executed by", by(replica, execution.began_at, None)));
    }
    if let Some(at) = action.ended_at {
        pairs.push(("Ended", absolute(at).into()));
    }
    pairs.push(("Action", code(action.id.to_string()).into()));
    fact_list(pairs)
}

/// The journal and the comments, in the order of time.
fn journal(action: &Action) -> Option<El> {
    let entries = action.journal.iter();
    let entries = entries.map(|entry| (entry.at, &entry.by, entry.text.clone()));
    let comments = action.comments.iter();
    let comments = comments.map(|comment| {
        let text = format!("commented: {}", comment.text);
        (comment.at, &comment.by, text)
    });
    let mut all: Vec<(Timestamp, &String, String)> = entries.chain(comments).collect();
    all.sort_by_key(|(at, ..)| *at);
    let lines: Vec<El> = all
        .into_iter()
        .map(|(at, by, text)| {
            el("li")
                .child(absolute(at))
                .child(quiet(format!(" {by} ")))
                .child(text)
        })
        .collect();
    (!lines.is_empty()).then(|| el("ol").class("journal").child(lines))
}
