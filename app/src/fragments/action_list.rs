//! The list of actions: open and finished.

use galera::Timestamp;
use galera::publish::api::{ActionList, ActionView, RecoveryState, SessionView};
use galera::recover::action::ActionState;

use super::recovery::{pause_form, paused_notice};
use super::widgets;
use crate::format::{countdown, link, sub, ticking_age, unknown};
use crate::marks::{action_kind_label, action_mark, state_badge};
use crate::markup::{Content, El, el};
use crate::pages::{cell, data_table, row};

const COLUMNS: [&str; 5] = ["Action", "State", "Requested", "Approvals", "Outcome"];

pub(super) fn page(
    open: &ActionList,
    ended: &ActionList,
    switch: &RecoveryState,
    session: &SessionView,
    now: Timestamp,
) -> El {
    let off = switch.off.as_ref().filter(|_| !switch.enabled);
    let single: Vec<El> = switch
        .clusters
        .iter()
        .map(|(name, off)| {
            el("li")
                .child(link(
                    format!("/clusters/{name}/recovery"),
                    name.display_name().into_owned(),
                ))
                .child(format!(": {}", off.reason))
        })
        .collect();
    let single = (!single.is_empty()).then(|| {
        el("div")
            .class("notice")
            .child(el("p").child("Recovery is paused for:"))
            .child(el("ul").class("reasons").child(single))
    });
    el("div")
        .class("page")
        .child(el("h1").child("Actions"))
        .child(off.map(|off| paused_notice("Recovery paused for all clusters", off, now)))
        .child(single)
        .child(section("Open", open, "No open actions.", now))
        .child(section("Finished", ended, "No finished actions yet.", now))
        .child(older_link(ended))
        .child(
            el("section")
                .attr("id", "switch")
                .child(el("h2").child("Recovery of all clusters"))
                .child(pause_form("/recovery".to_owned(), switch.enabled, session)),
        )
}

fn section(title: &'static str, list: &ActionList, none: &'static str, now: Timestamp) -> El {
    let content = if list.actions.is_empty() {
        el("p").class("quiet").child(none)
    } else {
        action_table(&list.actions, now)
    };
    el("section").child(el("h2").child(title)).child(content)
}

fn older_link(list: &ActionList) -> Option<El> {
    let before = list.next_before.as_ref()?;
    Some(el("p").child(link(
        format!(
            "/actions?before={}",
            crate::data::encode_segment(before.as_str())
        ),
        "Older actions",
    )))
}

pub(super) fn action_table(actions: &[ActionView], now: Timestamp) -> El {
    let rows = actions.iter().map(|view| action_row(view, now)).collect();
    data_table("ledger actions", "Actions", &COLUMNS, rows)
}

fn action_row(view: &ActionView, now: Timestamp) -> El {
    let action = &view.action;
    let what = format!(
        "{} of {}",
        action_kind_label(action.kind),
        action.cluster.display_name()
    );
    let head = el("span")
        .child(widgets::action_link(action.id.as_str(), what))
        .child(
            action
                .break_glass
                .as_ref()
                .map(|_| sub("emergency override")),
        );
    let requested = el("span")
        .child(action.requested_by.clone())
        .child(sub(ticking_age(action.requested_at, now)));
    let approvals = format!("{} of {}", action.approvals.len(), action.approvals_needed);
    row(head)
        .child(cell(COLUMNS[1], state_badge(action_mark(action.state))))
        .child(cell(COLUMNS[2], requested))
        .child(cell(COLUMNS[3], approvals))
        .child(cell(COLUMNS[4], outcome_cell(view, now)).class("finding"))
}

fn outcome_cell(view: &ActionView, now: Timestamp) -> Content {
    let action = &view.action;
    match (&action.outcome, action.ended_at, action.expires_at) {
        (Some(outcome), Some(at), _) => Content::Many(vec![
            outcome.clone().into(),
            sub(ticking_age(at, now)).into(),
        ]),
        (Some(outcome), None, _) => outcome.clone().into(),
        (None, _, Some(at))
            if matches!(action.state, ActionState::Pending | ActionState::Approved) =>
        {
            let wait = view.waiting.as_ref();
            let wait = wait.map_or(Content::None, |wait| {
                format!("Waiting: {} ", wait.message).into()
            });
            Content::Many(vec![wait, "expires in ".into(), countdown(at, now).into()])
        }
        _ => unknown().into(),
    }
}

#[cfg(test)]
mod tests;
