//! The delivery log.

use galera::Timestamp;
use galera::publish::notification::delivery::{Delivery, DeliveryList, DeliveryState, TargetList};

use super::super::widgets::button;
use super::{NotificationsFilter, inline_form};
use crate::data::encode_segment;
use crate::format::{absolute, countdown, link, quiet, sub, ticking_age};
use crate::marks::{delivery_mark, state_badge};
use crate::markup::{Content, El, el};
use crate::pages::{cell, data_table, row};

const COLUMNS: [&str; 5] = ["Notification", "Target", "State", "Attempts", "Actions"];

/// Deliveries, newest first, with their filter.
pub(super) fn section(
    targets: &TargetList,
    deliveries: &DeliveryList,
    filter: &NotificationsFilter,
    now: Timestamp,
) -> El {
    let rows = deliveries
        .deliveries
        .iter()
        .map(|delivery| delivery_row(delivery, targets, now))
        .collect();
    let content = if deliveries.deliveries.is_empty() {
        el("p").class("quiet").child("No matching deliveries.")
    } else {
        data_table(
            "ledger deliveries",
            "Deliveries, newest first",
            &COLUMNS,
            rows,
        )
    };
    let more = (deliveries.more > 0 && filter.limit < 500).then(|| {
        let path = format!(
            "/notifications?target={}&state={}&limit=500#log",
            encode_segment(&filter.target),
            encode_segment(&filter.state)
        );
        el("p").child(link(path, format!("{} older deliveries", deliveries.more)))
    });
    el("section")
        .attr("id", "log")
        .child(el("h2").child("Deliveries"))
        .child(filter_form(targets, filter))
        .child(content)
        .child(more)
}

fn filter_form(targets: &TargetList, filter: &NotificationsFilter) -> El {
    let names = targets
        .targets
        .iter()
        .map(|target| (target.id.as_str(), target.name.as_str()));
    let states = DeliveryState::ALL
        .into_iter()
        .map(|state| (state.as_str(), state.as_str()));
    el("form")
        .class("filter")
        .attr("method", "get")
        .attr("action", "/notifications")
        .attr("role", "search")
        .child(filter_select(
            "target",
            "Target",
            "all",
            names,
            &filter.target,
        ))
        .child(filter_select(
            "state",
            "State",
            "any",
            states,
            &filter.state,
        ))
        .child(el("button").attr("type", "submit").child("Filter"))
}

fn filter_select<'a>(
    name: &'static str,
    label: &'static str,
    all: &'static str,
    options: impl Iterator<Item = (&'a str, &'a str)>,
    chosen: &str,
) -> Content {
    let option = |value: &str, text: &str| {
        let chosen = (value == chosen).then_some("");
        el("option")
            .attr("value", value.to_owned())
            .optional_attr("selected", chosen)
            .child(text.to_owned())
    };
    let id = format!("by-{name}");
    let mut select = el("select")
        .attr("id", id.clone())
        .attr("name", name)
        .child(option("", all));
    for (value, text) in options {
        select = select.child(option(value, text));
    }
    Content::Many(vec![
        el("label").attr("for", id).child(label).into(),
        select.into(),
    ])
}

fn delivery_row(delivery: &Delivery, targets: &TargetList, now: Timestamp) -> El {
    let notice = &delivery.notice;
    let title = link(notice.path.clone(), notice.title.clone());
    let head = el("span").child(title).child(sub(Content::Many(vec![
        absolute(notice.at).into(),
        ", ".into(),
        ticking_age(notice.at, now).into(),
    ])));
    let target = targets
        .targets
        .iter()
        .find(|target| target.id == delivery.target);
    let disabled = target.is_some_and(|target| !target.enabled);
    let target = target.map_or_else(|| delivery.target.clone(), |target| target.name.clone());
    row(head)
        .child(cell(COLUMNS[1], target))
        .child(cell(COLUMNS[2], state_badge(delivery_mark(delivery))))
        .child(cell(COLUMNS[3], attempt_list(delivery, disabled, now)).class("finding"))
        .child(cell(COLUMNS[4], redeliver_form(delivery)))
}

fn attempt_list(delivery: &Delivery, disabled: bool, now: Timestamp) -> El {
    let mut lines: Vec<El> = delivery
        .tries
        .iter()
        .rev()
        .take(3)
        .map(|attempt| el("li").child(attempt_summary(attempt, now)))
        .collect();
    if disabled && delivery.state == DeliveryState::Waiting {
        let why = "waiting until the target is enabled";
        lines.insert(0, el("li").child(why));
    } else if let Some(next) = delivery.next_at {
        let left = countdown(next, now);
        lines.insert(0, el("li").child("next attempt in ").child(left));
    }
    let count = delivery.tries.len();
    let earlier = (count > 3).then(|| {
        el("li")
            .class("quiet")
            .child(format!("{} earlier", count - 3))
    });
    if lines.is_empty() {
        return quiet("not attempted yet");
    }
    el("ul").class("evidence").child(lines).child(earlier)
}

pub(super) fn last_attempt(delivery: &Delivery, now: Timestamp) -> Content {
    match delivery.tries.last() {
        Some(attempt) => attempt_summary(attempt, now),
        None => "not attempted yet".into(),
    }
}

fn attempt_summary(
    attempt: &galera::publish::notification::delivery::DeliveryAttempt,
    now: Timestamp,
) -> Content {
    let what = match (&attempt.error, attempt.status) {
        (Some(error), _) => error.clone(),
        (None, Some(status)) => format!("accepted with status {status}"),
        (None, None) => "accepted".to_owned(),
    };
    let mut parts: Vec<Content> = vec![
        ticking_age(attempt.at, now).into(),
        format!(": {what} ({} ms)", attempt.millis).into(),
    ];
    if !attempt.answer.is_empty() {
        parts.push(quiet(format!(" response: {}", attempt.answer)).into());
    }
    Content::Many(parts)
}

fn redeliver_form(delivery: &Delivery) -> El {
    let label = match delivery.state {
        DeliveryState::Waiting => "Send now",
        DeliveryState::Delivered | DeliveryState::Failed => "Send again",
    };
    let (target, notice) = (
        encode_segment(&delivery.target),
        encode_segment(&delivery.notice.id),
    );
    inline_form(format!(
        "/notifications/deliveries/{target}/{notice}/redeliver"
    ))
    .child(button(label.to_owned(), None))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures;

    pub(in super::super) fn waiting_delivery() -> Delivery {
        let at = fixtures::fixed_now().to_string();
        let next = Timestamp::from_unix_millis(fixtures::fixed_now().unix_millis() + 90_000);
        serde_json::from_value(json!({
            "target": "t", "state": "waiting", "queued_at": at, "next_at": next, "ended_at": null, "attempts": 1,
            "tries": [{"at": at, "millis": 7, "status": 503, "error": "it answered 503", "answer": "not now"}],
            "notice": {"id": "lab.1", "kind": "test", "at": at, "cluster": null, "severity": "info", "title": "Test",
                "text": "", "path": "/", "problem": null, "action": null, "audience": {"who": "everyone"}},
        }))
        .unwrap()
    }

    #[test]
    fn shows_the_next_attempt_or_why_there_is_none() {
        let now = fixtures::fixed_now();
        let soon = attempt_list(&waiting_delivery(), false, now).html();
        assert!(soon.contains("data-age=\"in\">1 min 30 s</time>"), "{soon}");
        assert!(soon.contains("it answered 503 (7 ms)"), "{soon}");
        assert!(soon.contains("response: not now"), "{soon}");
        let never = attempt_list(&waiting_delivery(), true, now).html();
        assert!(!never.contains("next attempt in"), "{never}");
        assert!(
            never.contains("waiting until the target is enabled"),
            "{never}"
        );
    }
}
