//! Turns audit entries into notifications: requests for the approvers, decisions and outcomes for the requester, alarms
//! about data, and incidents.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text::{TEXT_MAX, TITLE_MAX, truncate};
use super::{
    ActionReference, Audience, FindingPhase, FindingReference, Notification, NotificationKind,
    Severity,
};
use crate::id::ActionId;
use crate::record::audit::{AuditEntry, AuditEvent, AuditRecord, detail};

/// Maximum number of open requests kept. A cluster has at most one open action, so this is reached only if entries
/// about their ends are missing.
const REQUESTS_MAX: usize = 1_000;

/// Decisions on actions, and how notifications name them.
const DECISIONS: [(AuditEvent, &str); 3] = [
    (AuditEvent::ACTION_APPROVED, "approved"),
    (AuditEvent::ACTION_REJECTED, "rejected"),
    (AuditEvent::ACTION_CANCELLED, "cancelled"),
];

/// Changes of incidents, and how notifications name them.
const INCIDENT_CHANGES: [(AuditEvent, &str, Severity); 3] = [
    (AuditEvent::INCIDENT_OPENED, "opened", Severity::Warning),
    (AuditEvent::INCIDENT_UPDATED, "updated", Severity::Info),
    (AuditEvent::INCIDENT_RESOLVED, "resolved", Severity::Info),
];

/// How far the audit trail was read, and the requests that are still open; stored in etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditCursor {
    /// The last entry that was applied.
    pub sequence: u64,
    /// The requests whose actions have not ended.
    #[serde(default)]
    requests: BTreeMap<ActionId, OpenRequest>,
}

/// What later entries about the same action do not repeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OpenRequest {
    by: String,
    kind: Option<String>,
}

impl AuditCursor {
    /// Starts with the entries after `sequence`.
    #[must_use]
    pub fn starting_after(sequence: u64) -> Self {
        Self {
            sequence,
            requests: BTreeMap::new(),
        }
    }

    /// Applies the next entry and returns its notification, if any. An entry that was applied before has no effect.
    pub fn apply(&mut self, entry: &AuditEntry) -> Option<Notification> {
        if entry.sequence <= self.sequence {
            return None;
        }
        self.sequence = entry.sequence;
        let record = &entry.record;
        let id = format!("audit.{}", entry.sequence);
        let event = &record.event;
        if *event == AuditEvent::ACTION_REQUESTED {
            return self.on_requested(id, record);
        }
        if *event == AuditEvent::ACTION_ENDED {
            return self.on_ended(id, record);
        }
        if let Some((_, decision)) = DECISIONS.iter().find(|(decided, _)| decided == event) {
            return self.on_decided(id, record, decision);
        }
        if *event == AuditEvent::ETCD_SPACE_LOW {
            return Some(space_notification(id, record));
        }
        if *event == AuditEvent::HISTORY_ALARM_RAISED {
            return alarm_notification(id, record);
        }
        if *event == AuditEvent::FINDINGS_OPENED {
            return finding_notification(id, record, FindingPhase::Opened);
        }
        if *event == AuditEvent::FINDINGS_ENDED {
            return finding_notification(id, record, FindingPhase::Ended);
        }
        let (_, change, severity) = INCIDENT_CHANGES.iter().find(|(name, ..)| name == event)?;
        Some(incident_notification(id, record, change, *severity))
    }

    fn on_requested(&mut self, id: String, record: &AuditRecord) -> Option<Notification> {
        let action = action_of(record)?;
        let kind = value_of(record, detail::KIND);
        let request = OpenRequest {
            by: record.actor_account().to_owned(),
            kind: kind.map(str::to_owned),
        };
        self.requests.insert(action, request);
        while self.requests.len() > REQUESTS_MAX {
            // Ids start with their creation time.
            self.requests.pop_first();
        }
        let alone = value_of(record, detail::APPROVALS_NEEDED) == Some("0");
        let wait = if alone { "" } else { "; waiting for approval" };
        let title = format!(
            "{} requested by {}{wait}",
            action_label(record, kind),
            record.actor
        );
        let mut lines = Vec::new();
        lines.extend(value_of(record, detail::SUMMARY).map(str::to_owned));
        lines.extend(value_of(record, detail::REASON).map(|reason| format!("Reason: {reason}")));
        lines.extend(
            value_of(record, detail::BREAK_GLASS)
                .map(|codes| format!("Emergency override of failed checks: {codes}.")),
        );
        let mut notification = action_notification(
            id,
            NotificationKind::ActionRequested,
            record,
            "requested",
            &title,
            &lines,
        )?;
        notification.severity = if value_of(record, detail::BREAK_GLASS).is_some() {
            Severity::Critical
        } else {
            Severity::Warning
        };
        notification.audience = Audience::Approvers {
            except: record.actor_account().to_owned(),
        };
        Some(notification)
    }

    fn on_decided(
        &mut self,
        id: String,
        record: &AuditRecord,
        decision: &str,
    ) -> Option<Notification> {
        let request = self.requests.get(&action_of(record)?).cloned();
        let kind = request.as_ref().and_then(|request| request.kind.as_deref());
        let title = format!(
            "{} {decision} by {}",
            action_label(record, kind),
            record.actor
        );
        let comment =
            value_of(record, detail::COMMENT).map(|comment| format!("Comment: {comment}"));
        let lines: Vec<String> = comment.into_iter().collect();
        let mut notification = action_notification(
            id,
            NotificationKind::ActionDecided,
            record,
            decision,
            &title,
            &lines,
        )?;
        notification.audience = match request.map(|request| request.by) {
            // A requester who withdraws knows about it; the approvers do not.
            Some(requester) if requester == record.actor_account() => {
                Audience::Approvers { except: requester }
            }
            Some(name) => Audience::Person { name },
            None => Audience::Everyone,
        };
        Some(notification)
    }

    fn on_ended(&mut self, id: String, record: &AuditRecord) -> Option<Notification> {
        let request = self.requests.remove(&action_of(record)?);
        let kind = request.as_ref().and_then(|request| request.kind.as_deref());
        let state = value_of(record, detail::STATE)?;
        // Already sent as decisions.
        if matches!(state, "rejected" | "cancelled") {
            return None;
        }
        let title = format!("{} {}", action_label(record, kind), outcome_phrase(state));
        let outcome = value_of(record, detail::OUTCOME).filter(|outcome| !outcome.is_empty());
        let lines: Vec<String> = outcome.map(str::to_owned).into_iter().collect();
        let mut notification = action_notification(
            id,
            NotificationKind::ActionEnded,
            record,
            state,
            &title,
            &lines,
        )?;
        notification.severity = match state {
            "succeeded" => Severity::Info,
            "failed" | "unverified" => Severity::Critical,
            _ => Severity::Warning,
        };
        notification.audience = request.map_or(Audience::Everyone, |request| Audience::Person {
            name: request.by,
        });
        Some(notification)
    }
}

/// The action that the record is about.
fn action_of(record: &AuditRecord) -> Option<ActionId> {
    record.subject.as_deref().map(ActionId::from_stored)
}

fn value_of<'a>(record: &'a AuditRecord, name: &str) -> Option<&'a str> {
    record.detail.get(name).map(String::as_str)
}

/// The action's cluster and its kind, if known.
fn action_label(record: &AuditRecord, kind: Option<&str>) -> String {
    let kind = match kind {
        Some("bootstrap") => "bootstrap",
        Some("cleanup") => "clean-up",
        Some("decommission") => "decommission",
        _ => "action",
    };
    match &record.cluster {
        Some(cluster) => format!("{}: {kind}", cluster.display_name()),
        None => kind.to_owned(),
    }
}

fn outcome_phrase(state: &str) -> String {
    match state {
        "succeeded" => "succeeded".to_owned(),
        "failed" => "failed".to_owned(),
        "unverified" => "ended unverified".to_owned(),
        "expired" => "expired".to_owned(),
        "superseded" => "was superseded: the cluster changed".to_owned(),
        other => format!("ended: {other}"),
    }
}

fn action_notification(
    id: String,
    kind: NotificationKind,
    record: &AuditRecord,
    event: &str,
    title: &str,
    lines: &[String],
) -> Option<Notification> {
    let action = action_of(record)?;
    Some(Notification {
        id,
        kind,
        at: record.at,
        cluster: record.cluster.clone(),
        severity: Severity::Info,
        title: truncate(title, TITLE_MAX),
        text: truncate(&lines.join("\n"), TEXT_MAX),
        path: format!("/actions/{action}"),
        problem: None,
        action: Some(ActionReference {
            id: action,
            event: event.to_owned(),
            by: record.actor.clone(),
        }),
        finding: None,
        audience: Audience::Everyone,
    })
}

/// While etcd still accepts the notification: once it has no space left, nothing can be queued.
fn space_notification(id: String, record: &AuditRecord) -> Notification {
    Notification {
        id,
        kind: NotificationKind::Incident,
        at: record.at,
        cluster: None,
        severity: Severity::Warning,
        title: "etcd soon has no space left".to_owned(),
        text: truncate(value_of(record, detail::TEXT).unwrap_or_default(), TEXT_MAX),
        path: "/".to_owned(),
        problem: None,
        action: None,
        finding: None,
        audience: Audience::Everyone,
    }
}

/// About the status of the cluster, although its verdict may not have changed.
fn alarm_notification(id: String, record: &AuditRecord) -> Option<Notification> {
    let cluster = record.cluster.as_ref()?;
    let title = format!("{}: alarm about its data", cluster.display_name());
    let text = value_of(record, detail::TEXT).unwrap_or_default();
    let remedy = "It stays open until an operator or approver acknowledges it on the cluster's recovery page.";
    Some(Notification {
        id,
        kind: NotificationKind::Verdict,
        at: record.at,
        cluster: record.cluster.clone(),
        severity: Severity::Critical,
        title: truncate(&title, TITLE_MAX),
        text: truncate(&format!("{text}\n{remedy}"), TEXT_MAX),
        path: format!("/clusters/{cluster}/recovery"),
        problem: None,
        action: None,
        finding: None,
        audience: Audience::Everyone,
    })
}

fn finding_notification(
    id: String,
    record: &AuditRecord,
    phase: FindingPhase,
) -> Option<Notification> {
    let cluster = record.cluster.as_ref()?;
    let words = |name: &str| {
        let listed = value_of(record, name).unwrap_or_default().split(", ");
        listed.filter(|word| !word.is_empty())
    };
    let codes: BTreeMap<String, Severity> = words(detail::FINDINGS)
        .map(|word| match word.split_once('=') {
            Some((code, "critical")) => (code.to_owned(), Severity::Critical),
            Some((code, _)) => (code.to_owned(), Severity::Warning),
            None => (word.to_owned(), Severity::Warning),
        })
        .collect();
    let named: Vec<String> = codes.keys().map(|code| code.replace('_', " ")).collect();
    let what = match named.as_slice() {
        [] => return None,
        [one] => format!("finding {one}"),
        several => format!("findings {}", several.join(", ")),
    };
    let most_urgent = codes.values().copied().max().unwrap_or(Severity::Warning);
    let (title, severity) = match phase {
        FindingPhase::Opened => (format!("{}: {what}", cluster.display_name()), most_urgent),
        FindingPhase::Ended => (
            format!("{}: {what} ended", cluster.display_name()),
            Severity::Info,
        ),
    };
    Some(Notification {
        id,
        kind: NotificationKind::Finding,
        at: record.at,
        cluster: record.cluster.clone(),
        severity,
        title: truncate(&title, TITLE_MAX),
        text: truncate(value_of(record, detail::TEXT).unwrap_or_default(), TEXT_MAX),
        path: format!("/clusters/{cluster}/findings"),
        problem: None,
        action: None,
        finding: Some(FindingReference {
            phase,
            codes,
            nodes: words(detail::NODES).map(str::to_owned).collect(),
        }),
        audience: Audience::Everyone,
    })
}

fn incident_notification(
    id: String,
    record: &AuditRecord,
    event: &str,
    severity: Severity,
) -> Notification {
    let name = value_of(record, detail::TITLE).or(record.subject.as_deref());
    let title = format!("Incident {event}: {}", name.unwrap_or("untitled"));
    let text = value_of(record, detail::TEXT).unwrap_or_default();
    let path = match &record.cluster {
        Some(cluster) => format!("/clusters/{cluster}"),
        None => "/".to_owned(),
    };
    Notification {
        id,
        kind: NotificationKind::Incident,
        at: record.at,
        cluster: record.cluster.clone(),
        severity,
        title: truncate(&title, TITLE_MAX),
        text: truncate(text, TEXT_MAX),
        path,
        problem: None,
        action: None,
        finding: None,
        audience: Audience::Everyone,
    }
}
