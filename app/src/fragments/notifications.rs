//! Notification targets with their last delivery, their forms, and the delivery log.

mod delivery_log;
mod target_form;

use galera::Timestamp;
use galera::access::Operation;
use galera::publish::api::SessionView;
use galera::publish::notification::NotificationKind;
use galera::publish::notification::delivery::{ChannelKind, DeliveryList, TargetList, TargetView};

use super::api_client::PageQuery;
use super::widgets::{button, role_refusal};
use crate::data::encode_segment;
use crate::format::{code, link, pluralize, quiet, sub, unknown};
use crate::marks::{delivery_mark, state_badge, target_mark};
use crate::markup::{Content, El, el};
use crate::pages::{cell, data_table, row};

const COLUMNS: [&str; 6] = [
    "Target",
    "State",
    "Events",
    "Queued",
    "Last delivery",
    "Actions",
];

/// Filter and selection from the page's query string.
#[derive(Debug, Default)]
pub(super) struct NotificationsFilter {
    /// ID of the target being edited.
    edit: String,
    /// Kind of the target being added.
    add: Option<ChannelKind>,
    target: String,
    state: String,
    limit: usize,
}

impl NotificationsFilter {
    pub(super) fn from_query(query: &PageQuery) -> Self {
        let text = |name: &str| query.get(name).unwrap_or_default().trim().to_owned();
        let add = text("add");
        Self {
            edit: text("edit"),
            add: ChannelKind::ALL
                .into_iter()
                .find(|kind| kind.as_str() == add),
            target: text("target"),
            state: text("state"),
            limit: text("limit").parse().unwrap_or(50),
        }
    }

    pub(super) fn deliveries_api_path(&self) -> String {
        let mut path = format!("/api/v1/notifications/deliveries?limit={}", self.limit);
        for (name, value) in [("target", &self.target), ("state", &self.state)] {
            if !value.is_empty() {
                path.push_str(&format!("&{name}={}", encode_segment(value)));
            }
        }
        path
    }
}

pub(super) fn page(
    targets: &TargetList,
    deliveries: &DeliveryList,
    filter: &NotificationsFilter,
    session: &SessionView,
    now: Timestamp,
) -> El {
    let refusal = role_refusal(session, Operation::ManageNotifications);
    let edited = targets
        .targets
        .iter()
        .find(|target| target.id == filter.edit);
    let form = match (edited, filter.add) {
        (Some(target), _) => Some(target_form::edit_target(target, refusal.as_deref())),
        (None, Some(kind)) => Some(target_form::new_target(
            kind,
            targets.smtp,
            refusal.as_deref(),
        )),
        (None, None) => None,
    };
    el("div")
        .class("page")
        .child(el("h1").child("Notifications"))
        .child(
            el("section")
                .child(el("h2").child("Targets"))
                .child(target_table(targets, refusal.as_deref(), now))
                .child(add_target_links(refusal.as_deref())),
        )
        .child(form)
        .child(delivery_log::section(targets, deliveries, filter, now))
}

fn add_target_links(refusal: Option<&str>) -> El {
    let line = el("p").class("act").child("Add a target: ");
    if let Some(refusal) = refusal {
        return line.child(el("span").class("why-not").child(refusal.to_owned()));
    }
    let links: Vec<El> = ChannelKind::ALL
        .into_iter()
        .map(|kind| {
            link(
                format!("/notifications?add={}#form", kind.as_str()),
                channel_label(kind),
            )
        })
        .collect();
    line.child(links)
}

fn target_table(targets: &TargetList, refusal: Option<&str>, now: Timestamp) -> El {
    if targets.targets.is_empty() {
        return el("p").class("quiet").child("No targets yet.");
    }
    let rows = targets
        .targets
        .iter()
        .map(|target| target_row(target, refusal, now))
        .collect();
    data_table("ledger targets", "Notification targets", &COLUMNS, rows)
}

fn target_row(target: &TargetView, refusal: Option<&str>, now: Timestamp) -> El {
    let name: Content = match refusal {
        None => link(
            format!("/notifications?edit={}#form", target.id),
            target.name.clone(),
        )
        .into(),
        Some(_) => target.name.clone().into(),
    };
    let head = el("span").child(name).child(sub(destination(target)));
    let waiting: Content = match target.waiting {
        0 => quiet("none").into(),
        count => link(
            format!("/notifications?target={}&state=waiting#log", target.id),
            pluralize(count, "notification").replace(' ', "\u{a0}"),
        )
        .into(),
    };
    let last: Content = match &target.last {
        Some(delivery) => Content::Many(vec![
            state_badge(delivery_mark(delivery)).into(),
            sub(delivery_log::last_attempt(delivery, now)).into(),
        ]),
        None => unknown().into(),
    };
    row(head)
        .child(cell(COLUMNS[1], state_badge(target_mark(target.enabled))))
        .child(cell(COLUMNS[2], rules_summary(target)))
        .child(cell(COLUMNS[3], waiting))
        .child(cell(COLUMNS[4], last).class("finding"))
        .child(cell(COLUMNS[5], test_form(target, refusal)))
}

fn destination(target: &TargetView) -> Content {
    let address: Content = match (&target.url, target.people) {
        (Some(url), _) => code(url.clone()).into(),
        (None, true) if target.to.is_empty() => "the affected accounts".into(),
        (None, true) => format!("{} and the affected accounts", target.to.join(", ")).into(),
        (None, false) => target.to.join(", ").into(),
    };
    Content::Many(vec![
        format!("{}: ", channel_label(target.channel)).into(),
        address,
    ])
}

fn rules_summary(target: &TargetView) -> El {
    let rules = &target.rules;
    let kinds: Vec<&str> = rules
        .kinds
        .iter()
        .map(|kind| notification_kind_label(*kind))
        .collect();
    let kinds = if rules.kinds.len() == NotificationKind::SELECTABLE.len() {
        "all events".to_owned()
    } else {
        kinds.join(", ")
    };
    let clusters: Vec<_> = rules
        .clusters
        .iter()
        .map(galera::ClusterName::display_name)
        .collect();
    let clusters = if clusters.is_empty() {
        "all clusters".to_owned()
    } else {
        clusters.join(", ")
    };
    let after = match rules.minimum_seconds {
        0 => "immediately".to_owned(),
        seconds => format!("after {seconds} s"),
    };
    let window = match rules.window_seconds {
        0 => String::new(),
        seconds => format!(", then at most every {seconds} s"),
    };
    let times = format!("{clusters}; {after}{window}");
    el("span").child(kinds).child(sub(times))
}

fn test_form(target: &TargetView, refusal: Option<&str>) -> El {
    inline_form(format!("/notifications/targets/{}/test", target.id))
        .child(button("Send test".to_owned(), refusal))
}

/// A one-button form within a table.
fn inline_form(action: String) -> El {
    el("form")
        .class("bare")
        .attr("method", "post")
        .attr("action", action)
}

const fn channel_label(kind: ChannelKind) -> &'static str {
    match kind {
        ChannelKind::Webhook => "Webhook",
        ChannelKind::Slack => "Slack-compatible",
        ChannelKind::Alertmanager => "Alertmanager",
        ChannelKind::Email => "E-mail",
    }
}

const fn notification_kind_label(kind: NotificationKind) -> &'static str {
    match kind {
        NotificationKind::Verdict => "status changes",
        NotificationKind::ActionRequested => "action requests",
        NotificationKind::ActionDecided => "action decisions",
        NotificationKind::ActionEnded => "action results",
        NotificationKind::Incident => "incidents",
        NotificationKind::Finding => "findings",
        NotificationKind::Test => "tests",
    }
}

#[cfg(test)]
mod tests;
