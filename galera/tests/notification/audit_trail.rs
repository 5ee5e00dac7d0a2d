//! Notifications from the audit trail.

use galera::publish::notification::audit_trail::AuditCursor;
use galera::publish::notification::{Audience, Notification, NotificationKind, Severity};
use galera::record::audit::{AuditEntry, AuditEvent, AuditRecord};

use crate::verdicts::at;

fn entry(sequence: u64, actor: &str, event: AuditEvent, detail: &[(&str, &str)]) -> AuditEntry {
    let detail = detail
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    AuditEntry {
        sequence,
        record: AuditRecord {
            at: at(0),
            actor: actor.to_owned(),
            event,
            cluster: "lab".parse().ok(),
            subject: Some("18f-1".to_owned()),
            detail: detail.collect(),
        },
        previous: String::new(),
        hash: String::new(),
        seal: None,
    }
}

fn requested(sequence: u64) -> AuditEntry {
    let detail = [
        ("kind", "bootstrap"),
        ("summary", "Bootstrap n1"),
        ("reason", "two nodes lost"),
        ("approvals_needed", "1"),
    ];
    entry(sequence, "olga", AuditEvent::ACTION_REQUESTED, &detail)
}

#[test]
fn a_request_is_sent_to_approvers_and_its_end_to_the_requester() {
    let mut reading = AuditCursor::default();
    let asked = reading.apply(&requested(1)).unwrap();
    assert_eq!(
        asked.title,
        "lab: bootstrap requested by olga; waiting for approval"
    );
    assert_eq!(asked.text, "Bootstrap n1\nReason: two nodes lost");
    assert_eq!(asked.path, "/actions/18f-1");
    let except = "olga".to_owned();
    assert_eq!(asked.audience, Audience::Approvers { except });
    let approved = reading.apply(&entry(
        2,
        "anna",
        AuditEvent::ACTION_APPROVED,
        &[("comment", "go")],
    ));
    let approved = approved.unwrap();
    assert_eq!(
        (approved.kind, approved.text.as_str()),
        (NotificationKind::ActionDecided, "Comment: go")
    );
    let olga = Audience::Person {
        name: "olga".to_owned(),
    };
    assert_eq!(approved.audience, olga);
    // Steps are recorded, but not sent.
    assert!(
        reading
            .apply(&entry(3, "r1", AuditEvent::ACTION_STEP, &[]))
            .is_none()
    );
    let ended = [("state", "succeeded"), ("outcome", "n1 is Primary")];
    let ended = reading
        .apply(&entry(4, "r1", AuditEvent::ACTION_ENDED, &ended))
        .unwrap();
    assert_eq!(
        (ended.kind, ended.severity),
        (NotificationKind::ActionEnded, Severity::Info)
    );
    assert_eq!(ended.audience, olga);
    assert_eq!(reading, AuditCursor::starting_after(4));
}

#[test]
fn a_rejection_is_sent_once() {
    let mut reading = AuditCursor::default();
    reading.apply(&requested(1));
    let sent: Vec<Notification> = [
        entry(2, "anna", AuditEvent::ACTION_REJECTED, &[]),
        entry(
            3,
            "anna",
            AuditEvent::ACTION_ENDED,
            &[("state", "rejected")],
        ),
    ]
    .iter()
    .filter_map(|entry| reading.apply(entry))
    .collect();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].id, "audit.2");
}

#[test]
fn a_cancelled_request_is_not_sent_to_its_requester() {
    let mut reading = AuditCursor::default();
    reading.apply(&requested(1));
    let withdrawn = reading
        .apply(&entry(2, "olga", AuditEvent::ACTION_CANCELLED, &[]))
        .unwrap();
    let except = "olga".to_owned();
    assert_eq!(withdrawn.audience, Audience::Approvers { except });
}

#[test]
fn entries_are_applied_once() {
    let mut reading = AuditCursor::starting_after(5);
    assert!(reading.apply(&requested(5)).is_none());
    let asked = reading.apply(&requested(6));
    assert!(asked.is_some());
    assert!(reading.apply(&requested(6)).is_none());
}

#[test]
fn bad_ends_and_overrides_are_critical() {
    for (state, severity) in [
        ("failed", Severity::Critical),
        ("unverified", Severity::Critical),
        ("expired", Severity::Warning),
        ("superseded", Severity::Warning),
    ] {
        let ended = entry(1, "r1", AuditEvent::ACTION_ENDED, &[("state", state)]);
        assert_eq!(
            AuditCursor::default().apply(&ended).unwrap().severity,
            severity,
            "{state}"
        );
    }
    let glass = [("break_glass", "settled")];
    let glass =
        AuditCursor::default().apply(&entry(1, "ada", AuditEvent::ACTION_REQUESTED, &glass));
    assert_eq!(glass.unwrap().severity, Severity::Critical);
}

#[test]
fn long_texts_are_truncated() {
    let outcome = "x".repeat(100_000);
    let ended = [("state", "failed"), ("outcome", outcome.as_str())];
    let notice = AuditCursor::default()
        .apply(&entry(1, "r1", AuditEvent::ACTION_ENDED, &ended))
        .unwrap();
    assert!(notice.text.chars().count() <= 2_000);
}

#[test]
fn cursor_and_notification_keep_their_json() {
    let mut reading = AuditCursor::starting_after(5);
    let notification = reading.apply(&requested(6)).unwrap();
    assert_eq!(
        serde_json::to_string(&reading).unwrap(),
        r#"{"sequence":6,"requests":{"18f-1":{"by":"olga","kind":"bootstrap"}}}"#
    );
    assert_eq!(
        serde_json::to_string(&notification.action).unwrap(),
        r#"{"id":"18f-1","event":"requested","by":"olga"}"#
    );
    let text = serde_json::to_string(&reading).unwrap();
    assert_eq!(serde_json::from_str::<AuditCursor>(&text).unwrap(), reading);
}

#[test]
fn i45_an_alarm_about_data_is_notified_whatever_the_verdict() {
    let text = "The cluster was at 120 and continued at 101.";
    let detail = [("alarm", "1"), ("text", text)];
    let raised = entry(1, "console-a", AuditEvent::HISTORY_ALARM_RAISED, &detail);
    let notice = AuditCursor::default().apply(&raised).unwrap();
    assert_eq!(
        (notice.kind, notice.severity, notice.title.as_str()),
        (
            NotificationKind::Verdict,
            Severity::Critical,
            "lab: alarm about its data"
        )
    );
    assert!(notice.text.starts_with(text), "{}", notice.text);
    assert_eq!(notice.path, "/clusters/lab/recovery");
    assert_eq!(notice.audience, Audience::Everyone);
    assert_eq!(notice.problem, None);
}

#[test]
fn findings_are_notified_with_the_severity_of_each_and_their_end() {
    let detail = [
        ("findings", "connections_used=critical, even_votes=warning"),
        ("nodes", "n1, n2"),
        (
            "text",
            "Few connections are left on n1 and n2. Raise max_connections.",
        ),
    ];
    let opened = entry(1, "console-a", AuditEvent::FINDINGS_OPENED, &detail);
    let mut cursor = AuditCursor::default();
    let notice = cursor.apply(&opened).unwrap();
    assert_eq!(
        (notice.kind, notice.severity, notice.title.as_str()),
        (
            NotificationKind::Finding,
            Severity::Critical,
            "lab: findings connections used, even votes"
        )
    );
    assert_eq!(notice.path, "/clusters/lab/findings");
    assert_eq!(
        serde_json::to_string(&notice.finding).unwrap(),
        r#"{"phase":"opened","codes":{"connections_used":"critical","even_votes":"warning"},"nodes":["n1","n2"]}"#
    );
    let detail = [
        ("findings", "even_votes=warning"),
        ("nodes", ""),
        ("text", ""),
    ];
    let ended = entry(2, "console-a", AuditEvent::FINDINGS_ENDED, &detail);
    let notice = cursor.apply(&ended).unwrap();
    assert_eq!(
        (notice.severity, notice.title.as_str()),
        (Severity::Info, "lab: finding even votes ended")
    );
    // An entry of another version without codes.
    let nothing = entry(
        3,
        "console-a",
        AuditEvent::FINDINGS_OPENED,
        &[("text", "x")],
    );
    assert_eq!(cursor.apply(&nothing), None);
}
