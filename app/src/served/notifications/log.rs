//! The log of deliveries, and sending one again.

use galera::Timestamp;
use galera::publish::notification::delivery::{Delivery, DeliveryList, DeliveryState, TargetList};

use super::super::parts::button;
use super::{Asked, bare};
use crate::data::segment;
use crate::format::{absolute, link, quiet, remaining, sub, ticking};
use crate::markup::{Child, El, el};
use crate::pages::{cell, ledger, row};
use crate::words::{delivery_mark, state};

const COLUMNS: [&str; 5] = ["Notice", "Target", "State", "Attempts", "Do"];

/// Deliveries, newest first, with their filter.
pub(super) fn section(
    targets: &TargetList,
    deliveries: &DeliveryList,
    asked: &Asked,
    now: Timestamp,
) -> El {
    let rows = deliveries
        .deliveries
        .iter()
        .map(|delivery| line(delivery, targets, now))
        .collect();
    let content = if deliveries.deliveries.is_empty() {
        el("p").class("quiet").with("No delivery matches.")
    } else {
        ledger(
            "ledger deliveries",
            "Deliveries, newest first",
            &COLUMNS,
            rows,
        )
    };
    let more = (deliveries.more > 0 && asked.limit < 500).then(|| {
        let path = format!(
            "/notifications?target={}&state={}&limit=500#log",
            segment(&asked.target),
            segment(&asked.state)
        );
        el("p").with(link(path, format!("{} older deliveries", deliveries.more)))
    });
    el("section")
        .at("id", "log")
        .with(el("h2").with("Deliveries"))
        .with(filter(targets, asked))
        .with(content)
        .with(more)
}

fn filter(targets: &TargetList, asked: &Asked) -> El {
    let names = targets
        .targets
        .iter()
        .map(|target| (target.id.as_str(), target.name.as_str()));
    let states = DeliveryState::ALL
        .into_iter()
        .map(|state| (state.word(), state.word()));
    el("form")
        .class("filter")
        .at("method", "get")
        .at("action", "/notifications")
        .at("role", "search")
        .with(choice("target", "Target", "all", names, &asked.target))
        .with(choice("state", "State", "any", states, &asked.state))
        .with(el("button").at("type", "submit").with("Filter"))
}

fn choice<'a>(
    name: &'static str,
    label: &'static str,
    all: &'static str,
    options: impl Iterator<Item = (&'a str, &'a str)>,
    chosen: &str,
) -> Child {
    let option = |value: &str, text: &str| {
        let chosen = (value == chosen).then_some("");
        el("option")
            .at("value", value.to_owned())
            .maybe("selected", chosen)
            .with(text.to_owned())
    };
    let id = format!("by-{name}");
    let mut select = el("select")
        .at("id", id.clone())
        .at("name", name)
        .with(option("", all));
    for (value, text) in options {
        select = select.with(option(value, text));
    }
    Child::Many(vec![
        el("label").at("for", id).with(label).into(),
        select.into(),
    ])
}

fn line(delivery: &Delivery, targets: &TargetList, now: Timestamp) -> El {
    let notice = &delivery.notice;
    let title = link(notice.path.clone(), notice.title.clone());
    let head = el("span").with(title).with(sub(Child::Many(vec![
        absolute(notice.at).into(),
        ", ".into(),
        ticking(notice.at, now).into(),
    ])));
    let target = targets
        .targets
        .iter()
        .find(|target| target.id == delivery.target);
    let disabled = target.is_some_and(|target| !target.enabled);
    let target = target.map_or_else(|| delivery.target.clone(), |target| target.name.clone());
    row(format!("{}/{}", delivery.target, notice.id), head)
        .with(cell(COLUMNS[1], target))
        .with(cell(COLUMNS[2], state(delivery_mark(delivery))))
        .with(cell(COLUMNS[3], attempts(delivery, disabled, now)).class("finding"))
        .with(cell(COLUMNS[4], again(delivery)))
}

fn attempts(delivery: &Delivery, disabled: bool, now: Timestamp) -> El {
    let mut lines: Vec<El> = delivery
        .tries
        .iter()
        .rev()
        .take(3)
        .map(|attempt| el("li").with(one(attempt, now)))
        .collect();
    if disabled && delivery.state == DeliveryState::Waiting {
        let why = "waits until the target is enabled";
        lines.insert(0, el("li").with(why));
    } else if let Some(next) = delivery.next_at {
        let left = remaining(next, now);
        lines.insert(0, el("li").with("next in ").with(left));
    }
    let count = delivery.tries.len();
    let earlier = (count > 3).then(|| {
        el("li")
            .class("quiet")
            .with(format!("{} earlier", count - 3))
    });
    if lines.is_empty() {
        return quiet("not tried yet");
    }
    el("ul").class("evidence").with(lines).with(earlier)
}

/// The last attempt in one line.
pub(super) fn attempt(delivery: &Delivery, now: Timestamp) -> Child {
    match delivery.tries.last() {
        Some(attempt) => one(attempt, now),
        None => "not tried yet".into(),
    }
}

fn one(attempt: &galera::publish::notification::delivery::Attempt, now: Timestamp) -> Child {
    let what = match (&attempt.error, attempt.status) {
        (Some(error), _) => error.clone(),
        (None, Some(status)) => format!("taken with {status}"),
        (None, None) => "taken".to_owned(),
    };
    let mut parts: Vec<Child> = vec![
        ticking(attempt.at, now).into(),
        format!(": {what} ({} ms)", attempt.millis).into(),
    ];
    if !attempt.answer.is_empty() {
        parts.push(quiet(format!(" answer: {}", attempt.answer)).into());
    }
    Child::Many(parts)
}

fn again(delivery: &Delivery) -> El {
    let label = match delivery.state {
        DeliveryState::Waiting => "Send now",
        DeliveryState::Delivered | DeliveryState::Failed => "Send again",
    };
    let (target, notice) = (segment(&delivery.target), segment(&delivery.notice.id));
    bare(format!(
        "/notifications/deliveries/{target}/{notice}/redeliver"
    ))
    .with(button(label.to_owned(), None))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures;

    fn waiting() -> Delivery {
        let at = fixtures::at().to_string();
        let next = Timestamp::from_unix_millis(fixtures::at().unix_millis() + 90_000);
        serde_json::from_value(json!({
            "target": "t", "state": "waiting", "queued_at": at, "next_at": next, "ended_at": null, "attempts": 1,
            "tries": [{"at": at, "millis": 7, "status": 503, "error": "it answered 503", "answer": "not now"}],
            "notice": {"id": "lab.1", "kind": "test", "at": at, "cluster": null, "severity": "info", "title": "Test",
                "text": "", "path": "/", "problem": null, "action": null, "audience": {"who": "everyone"}},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_tried_again_says_when_and_what_is_not_says_why() {
        let now = fixtures::at();
        let soon = attempts(&waiting(), false, now).html();
        assert!(soon.contains("data-age=\"\">1 min 30 s</time>"), "{soon}");
        assert!(soon.contains("it answered 503 (7 ms)"), "{soon}");
        assert!(soon.contains("answer: not now"), "{soon}");
        let never = attempts(&waiting(), true, now).html();
        assert!(!never.contains("next in"), "{never}");
        assert!(
            never.contains("waits until the target is enabled"),
            "{never}"
        );
    }
}
