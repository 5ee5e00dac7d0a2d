//! The payload of each kind of notification for each channel: a contract with receivers.

use std::collections::BTreeMap;

use galera::publish::notification::audit_trail::AuditCursor;
use galera::publish::notification::verdicts::{NotificationContext, VerdictChange, VerdictTracker};
use galera::publish::notification::{NotificationKind, TargetRules};
use galera::record::audit::{AuditEntry, AuditEvent, AuditRecord};
use galera::view::VerdictState;
use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::Value;

use super::*;

/// `seconds` after 2026-11-23T08:00:00Z.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_795_420_800_000 + seconds * 1_000)
}

/// The last notification about a cluster with these verdicts, ten seconds apart.
fn of_verdicts(verdicts: &[VerdictState]) -> Notification {
    let cluster = "lab".parse().unwrap();
    let rules = TargetRules {
        kinds: NotificationKind::SELECTABLE.into(),
        clusters: [].into(),
        minimum_seconds: 0,
        window_seconds: 0,
    };
    let targets = BTreeMap::from([("t".to_owned(), rules)]);
    let context = NotificationContext {
        cluster: &cluster,
        targets: &targets,
        in_maintenance: &|_| false,
    };
    let mut tracker = VerdictTracker::default();
    let mut sent = Vec::new();
    for (sequence, verdict) in (1_u32..).zip(verdicts) {
        let time = at(i64::from(sequence) * 10);
        let change = VerdictChange {
            sequence: sequence.into(),
            at: time,
            to: *verdict,
            reasons: vec![format!("n1 <{}> & n2", verdict.as_str())],
        };
        sent.extend(tracker.apply(change, &context));
        sent.extend(tracker.advance(time, &context));
    }
    sent.pop().unwrap().1
}

/// Actor, event, subject and details of an audit entry.
type Entry = (
    &'static str,
    AuditEvent,
    &'static str,
    &'static [(&'static str, &'static str)],
);

/// The notification of the last of these audit entries.
fn of_entries(entries: &[Entry]) -> Notification {
    let mut cursor = AuditCursor::default();
    let mut last = None;
    for (sequence, (actor, event, subject, detail)) in (1_u32..).zip(entries) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let record = AuditRecord {
            at: at(i64::from(sequence) * 10),
            actor: (*actor).to_owned(),
            event: event.clone(),
            cluster: "lab".parse().ok(),
            subject: Some((*subject).to_owned()),
            detail: detail.iter().map(owned).collect(),
        };
        last = cursor.apply(&AuditEntry {
            sequence: sequence.into(),
            record,
            previous: String::new(),
            hash: String::new(),
            seal: None,
        });
    }
    last.unwrap()
}

const ACTION: &str = "019a00000001-00000001";
const REQUESTED: Entry = (
    "olga",
    AuditEvent::ACTION_REQUESTED,
    ACTION,
    &[
        ("approvals_needed", "1"),
        ("kind", "bootstrap"),
        ("reason", "two hosts lost power"),
        ("summary", "Make n1 Primary again."),
    ],
);
const ENDED: Entry = (
    "r1",
    AuditEvent::ACTION_ENDED,
    ACTION,
    &[
        ("outcome", "n1 is Primary and Synced"),
        ("state", "succeeded"),
    ],
);
const INCIDENT: Entry = (
    "olga",
    AuditEvent::INCIDENT_OPENED,
    "019a00000002-00000002",
    &[
        ("text", "We are looking into it."),
        ("title", "Slow writes"),
    ],
);
const FINDINGS: Entry = (
    "console-a",
    AuditEvent::FINDINGS_OPENED,
    "",
    &[
        ("findings", "connections_used=critical, even_votes=warning"),
        ("nodes", "n1, n2"),
        (
            "text",
            "Few connections are left on n1 and n2. Raise max_connections.",
        ),
    ],
);
const FINDINGS_ENDED: Entry = (
    "console-a",
    AuditEvent::FINDINGS_ENDED,
    "",
    &[
        ("findings", "connections_used=critical"),
        ("nodes", "n1"),
        ("text", ""),
    ],
);

fn link(notification: &Notification) -> String {
    format!("https://console.example.org{}", notification.path)
}

/// A request that waits for approval has a link.
fn approve(notification: &Notification) -> Option<&'static str> {
    let waits = notification.title.ends_with("waiting for approval");
    waits.then_some(
        "https://console.example.org/approve/0011.019a00000001-00000001.t.1795421700000.ffee",
    )
}

fn parsed(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

/// The message as it is sent, without the time at which it was written.
fn mail(notification: &Notification) -> String {
    let config = SmtpConfig {
        host: "127.0.0.1".to_owned(),
        port: 25,
        tls: SmtpTls::None,
        account: None,
        from: "Galera Console <console@example.org>".to_owned(),
    };
    let recipients = ["ada@example.org".to_owned(), "olga@example.org".to_owned()];
    let mailer = Mailer::new(&config, None).unwrap();
    let links = mail::MailLinks {
        page: &link(notification),
        approve: approve(notification),
    };
    let message = mailer
        .message("t", &recipients, notification, links)
        .unwrap();
    let text = String::from_utf8(message.formatted()).unwrap();
    let lines = text.lines().map(|line| match line.split_once(": ") {
        Some(("Date", _)) => "Date: [time]",
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

macro_rules! payloads {
    ($($name:ident: $notification:expr;)*) => {
        $(mod $name {
            use super::*;

            #[test]
            fn webhook() {
                let notification = $notification;
                let body = webhook::body(&notification, &link(&notification), approve(&notification));
                assert_json_snapshot!(parsed(&body));
            }

            #[test]
            fn slack() {
                let notification = $notification;
                let body = slack::body(&notification, Some(link(&notification)), approve(&notification));
                assert_json_snapshot!(parsed(&body));
            }

            #[test]
            fn alertmanager() {
                let notification = $notification;
                assert_json_snapshot!(alertmanager::alerts(&notification, &link(&notification), approve(&notification), at(60)));
            }

            #[test]
            fn email() {
                assert_snapshot!(mail(&$notification));
            }
        })*
    };
}

payloads! {
    verdict: of_verdicts(&[VerdictState::Healthy, VerdictState::NoPrimary]);
    split_brain: of_verdicts(&[VerdictState::Healthy, VerdictState::Degraded, VerdictState::SplitBrain]);
    resolved: of_verdicts(&[VerdictState::Healthy, VerdictState::Down, VerdictState::Healthy]);
    action_requested: of_entries(&[REQUESTED]);
    action_ended: of_entries(&[REQUESTED, ENDED]);
    incident: of_entries(&[INCIDENT]);
    findings: of_entries(&[FINDINGS]);
    findings_ended: of_entries(&[FINDINGS, FINDINGS_ENDED]);
}
