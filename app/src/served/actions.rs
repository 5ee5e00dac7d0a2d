//! The list of actions: what waits, what runs, what ended.

use galera::Timestamp;
use galera::publish::api::{ActionList, ActionView, RecoveryState, SessionView};
use galera::recover::action::{Action, State};

use super::parts;
use super::recovery::{switch_form, switched_off};
use crate::format::{link, remaining, sub, ticking, unknown};
use crate::markup::{Child, El, el};
use crate::pages::{cell, ledger, row};
use crate::words::{action_mark, kind_word, state};

const COLUMNS: [&str; 5] = ["Action", "State", "Requested", "Approvals", "Outcome"];

/// The page.
pub(super) fn actions(
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
                .with(link(format!("/clusters/{name}/recovery"), name.to_string()))
                .with(format!(": {}", off.reason))
        })
        .collect();
    let single = (!single.is_empty()).then(|| {
        el("div")
            .class("notice")
            .with(el("p").with("Recovery is switched off for:"))
            .with(el("ul").class("reasons").with(single))
    });
    el("div")
        .class("page")
        .with(el("h1").with("Actions"))
        .with(off.map(|off| switched_off("Recovery of every cluster is switched off", off, now)))
        .with(single)
        .with(section(
            "Waiting and under way",
            open,
            "Nothing waits for approval and nothing is under way.",
            now,
        ))
        .with(section("Ended", ended, "No action has ended yet.", now))
        .with(older(ended))
        .with(
            el("section")
                .at("id", "switch")
                .with(el("h2").with("Off-switch for every cluster"))
                .with(switch_form("/recovery".to_owned(), switch.enabled, session)),
        )
}

fn section(title: &'static str, list: &ActionList, none: &'static str, now: Timestamp) -> El {
    let content = if list.actions.is_empty() {
        el("p").class("quiet").with(none)
    } else {
        table(&list.actions, now)
    };
    el("section").with(el("h2").with(title)).with(content)
}

fn older(list: &ActionList) -> Option<El> {
    let before = list.next_before.as_ref()?;
    Some(el("p").with(link(
        format!("/actions?before={}", crate::data::segment(before)),
        "Older actions",
    )))
}

/// Actions, newest first.
pub(super) fn table(actions: &[ActionView], now: Timestamp) -> El {
    let rows = actions.iter().map(|view| line(&view.action, now)).collect();
    ledger("ledger actions", "Actions", &COLUMNS, rows)
}

fn line(action: &Action, now: Timestamp) -> El {
    let what = format!("{} of {}", kind_word(action.kind), action.cluster);
    let head = el("span")
        .with(parts::action_link(&action.id, what))
        .with(action.break_glass.as_ref().map(|_| sub("break-glass")));
    let requested = el("span")
        .with(action.requested_by.clone())
        .with(sub(ticking(action.requested_at, now)));
    let approvals = format!("{} of {}", action.approvals.len(), action.approvals_needed);
    row(action.id.clone(), head)
        .with(cell(COLUMNS[1], state(action_mark(action.state))))
        .with(cell(COLUMNS[2], requested))
        .with(cell(COLUMNS[3], approvals))
        .with(cell(COLUMNS[4], outcome(action, now)).class("finding"))
}

fn outcome(action: &Action, now: Timestamp) -> Child {
    match (&action.outcome, action.ended_at, action.expires_at) {
        (Some(outcome), Some(at), _) => {
            Child::Many(vec![outcome.clone().into(), sub(ticking(at, now)).into()])
        }
        (Some(outcome), None, _) => outcome.clone().into(),
        (None, _, Some(at)) if matches!(action.state, State::Pending | State::Approved) => {
            Child::Many(vec!["expires in ".into(), remaining(at, now).into()])
        }
        _ => unknown().into(),
    }
}
