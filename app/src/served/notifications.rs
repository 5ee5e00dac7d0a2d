//! Who is told what: targets with what became of the last notice, their forms, and the log of deliveries.

mod form;
mod log;

use galera::Timestamp;
use galera::access::Operation;
use galera::publish::api::SessionView;
use galera::publish::notification::Kind;
use galera::publish::notification::delivery::{ChannelKind, DeliveryList, TargetList, TargetView};

use super::answers::Query;
use super::parts::{button, role_refusal};
use crate::data::segment;
use crate::format::{code, counted, link, quiet, sub, unknown};
use crate::markup::{Child, El, el};
use crate::pages::{cell, ledger, row};
use crate::words::{delivery_mark, state, target_mark};

const COLUMNS: [&str; 6] = ["Target", "State", "Told about", "Waiting", "Last", "Do"];

/// What the address asks for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The target whose form is wanted.
    edit: String,
    /// The kind of target that is to be added.
    add: Option<ChannelKind>,
    target: String,
    state: String,
    limit: usize,
}

impl Asked {
    pub(super) fn of(query: &Query) -> Self {
        let text = |name: &str| query.get(name).unwrap_or_default().trim().to_owned();
        let add = text("add");
        Self {
            edit: text("edit"),
            add: ChannelKind::ALL.into_iter().find(|kind| kind.word() == add),
            target: text("target"),
            state: text("state"),
            limit: text("limit").parse().unwrap_or(50),
        }
    }

    /// The API's address for the deliveries.
    pub(super) fn deliveries(&self) -> String {
        let mut path = format!("/api/v1/notifications/deliveries?limit={}", self.limit);
        for (name, value) in [("target", &self.target), ("state", &self.state)] {
            if !value.is_empty() {
                path.push_str(&format!("&{name}={}", segment(value)));
            }
        }
        path
    }
}

/// The page.
pub(super) fn notifications(
    targets: &TargetList,
    deliveries: &DeliveryList,
    asked: &Asked,
    session: &SessionView,
    now: Timestamp,
) -> El {
    let refusal = role_refusal(session, Operation::ManageNotifications);
    let edited = targets
        .targets
        .iter()
        .find(|target| target.id == asked.edit);
    let form = match (edited, asked.add) {
        (Some(target), _) => Some(form::edit(target, refusal.as_deref())),
        (None, Some(kind)) => Some(form::add(kind, targets.smtp, refusal.as_deref())),
        (None, None) => None,
    };
    el("div")
        .class("page")
        .with(el("h1").with("Notifications"))
        .with(
            el("section")
                .with(el("h2").with("Targets"))
                .with(table(targets, refusal.as_deref(), now))
                .with(adding(refusal.as_deref())),
        )
        .with(form)
        .with(log::section(targets, deliveries, asked, now))
}

fn adding(refusal: Option<&str>) -> El {
    let line = el("p").class("act").with("Add a target: ");
    if let Some(refusal) = refusal {
        return line.with(el("span").class("why-not").with(refusal.to_owned()));
    }
    let links: Vec<El> = ChannelKind::ALL
        .into_iter()
        .map(|kind| {
            link(
                format!("/notifications?add={}#form", kind.word()),
                channel_word(kind),
            )
        })
        .collect();
    line.with(links)
}

fn table(targets: &TargetList, refusal: Option<&str>, now: Timestamp) -> El {
    if targets.targets.is_empty() {
        return el("p").class("quiet").with("Nobody is told anything yet.");
    }
    let rows = targets
        .targets
        .iter()
        .map(|target| line(target, refusal, now))
        .collect();
    ledger("ledger targets", "Notification targets", &COLUMNS, rows)
}

fn line(target: &TargetView, refusal: Option<&str>, now: Timestamp) -> El {
    let name: Child = match refusal {
        None => link(
            format!("/notifications?edit={}#form", target.id),
            target.name.clone(),
        )
        .into(),
        Some(_) => target.name.clone().into(),
    };
    let head = el("span").with(name).with(sub(where_to(target)));
    let waiting: Child = match target.waiting {
        0 => quiet("none").into(),
        count => link(
            format!("/notifications?target={}&state=waiting#log", target.id),
            counted(count, "notice").replace(' ', "\u{a0}"),
        )
        .into(),
    };
    let last: Child = match &target.last {
        Some(delivery) => Child::Many(vec![
            state(delivery_mark(delivery)).into(),
            sub(log::attempt(delivery, now)).into(),
        ]),
        None => unknown().into(),
    };
    row(target.id.clone(), head)
        .with(cell(COLUMNS[1], state(target_mark(target.enabled))))
        .with(cell(COLUMNS[2], rules(target)))
        .with(cell(COLUMNS[3], waiting))
        .with(cell(COLUMNS[4], last).class("finding"))
        .with(cell(COLUMNS[5], test(target, refusal)))
}

fn where_to(target: &TargetView) -> Child {
    let place: Child = match (&target.url, target.people) {
        (Some(url), _) => code(url.clone()).into(),
        (None, true) if target.to.is_empty() => "the accounts concerned".into(),
        (None, true) => format!("{} and the accounts concerned", target.to.join(", ")).into(),
        (None, false) => target.to.join(", ").into(),
    };
    Child::Many(vec![
        format!("{}: ", channel_word(target.channel)).into(),
        place,
    ])
}

fn rules(target: &TargetView) -> El {
    let rules = &target.rules;
    let kinds: Vec<&str> = rules.kinds.iter().map(|kind| kind_word(*kind)).collect();
    let kinds = if rules.kinds.len() == Kind::CHOICES.len() {
        "everything".to_owned()
    } else {
        kinds.join(", ")
    };
    let clusters: Vec<&str> = rules
        .clusters
        .iter()
        .map(galera::ClusterName::as_str)
        .collect();
    let clusters = if clusters.is_empty() {
        "every cluster".to_owned()
    } else {
        clusters.join(", ")
    };
    let after = match rules.minimum_seconds {
        0 => "at once".to_owned(),
        seconds => format!("after {seconds} s"),
    };
    let window = match rules.window_seconds {
        0 => String::new(),
        seconds => format!(", then at most every {seconds} s"),
    };
    let times = format!("{clusters}; {after}{window}");
    el("span").with(kinds).with(sub(times))
}

fn test(target: &TargetView, refusal: Option<&str>) -> El {
    bare(format!("/notifications/targets/{}/test", target.id))
        .with(button("Send a test".to_owned(), refusal))
}

/// A form of one button, in a table.
fn bare(action: String) -> El {
    el("form")
        .class("bare")
        .at("method", "post")
        .at("action", action)
}

/// How a channel is called.
const fn channel_word(kind: ChannelKind) -> &'static str {
    match kind {
        ChannelKind::Webhook => "Webhook",
        ChannelKind::Slack => "Slack-compatible",
        ChannelKind::Alertmanager => "Alertmanager",
        ChannelKind::Email => "E-mail",
    }
}

/// What a kind of notice is about.
const fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Verdict => "verdicts",
        Kind::ActionRequested => "requested actions",
        Kind::ActionDecided => "decisions on actions",
        Kind::ActionEnded => "ends of actions",
        Kind::Incident => "incidents",
        Kind::Test => "tests",
    }
}
