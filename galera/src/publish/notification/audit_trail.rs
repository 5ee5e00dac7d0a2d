//! From the entries of the audit trail to notices: requests to those who may approve, what became of them to the requester.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text::{TEXT_MAX, TITLE_MAX, truncate};
use super::{ActionReference, Audience, Notification, NotificationKind, Severity};
use crate::record::audit::{AuditEntry, AuditRecord};

/// Requests remembered for the sake of their requesters. At most one of a cluster is open at a time, so this is never
/// reached unless entries of ends are missing.
const REQUESTS_MAX: usize = 1_000;

/// How far the trail was read, and who requested what is still open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditCursor {
    /// The last entry that was taken in.
    pub sequence: u64,
    /// By action.
    #[serde(default)]
    requests: BTreeMap<String, OpenRequest>,
}

/// What later entries about an action do not repeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OpenRequest {
    by: String,
    kind: Option<String>,
}

impl AuditCursor {
    /// Everything until `sequence` is known already.
    #[must_use]
    pub fn starting_after(sequence: u64) -> Self {
        Self {
            sequence,
            requests: BTreeMap::new(),
        }
    }

    /// Takes the next entry in; what it is worth telling. One that was taken in before is worth nothing.
    pub fn apply(&mut self, entry: &AuditEntry) -> Option<Notification> {
        if entry.sequence <= self.sequence {
            return None;
        }
        self.sequence = entry.sequence;
        let record = &entry.record;
        let id = format!("audit.{}", entry.sequence);
        match record.event.as_str() {
            "action_requested" => self.on_requested(id, record),
            "action_approved" => self.on_decided(id, record, "approved"),
            "action_rejected" => self.on_decided(id, record, "rejected"),
            "action_cancelled" => self.on_decided(id, record, "cancelled"),
            "action_ended" => self.on_ended(id, record),
            "incident_opened" => Some(incident_notification(
                id,
                record,
                "opened",
                Severity::Warning,
            )),
            "incident_updated" => {
                Some(incident_notification(id, record, "updated", Severity::Info))
            }
            "incident_resolved" => Some(incident_notification(
                id,
                record,
                "resolved",
                Severity::Info,
            )),
            _ => None,
        }
    }

    fn on_requested(&mut self, id: String, record: &AuditRecord) -> Option<Notification> {
        let action = record.subject.clone()?;
        let kind = detail(record, "kind");
        let request = OpenRequest {
            by: record.actor.clone(),
            kind: kind.map(str::to_owned),
        };
        self.requests.insert(action, request);
        while self.requests.len() > REQUESTS_MAX {
            // Identities begin with their time.
            self.requests.pop_first();
        }
        let alone = detail(record, "approvals_needed") == Some("0");
        let wait = if alone { "" } else { "; it waits for approval" };
        let title = format!(
            "{} requested by {}{wait}",
            action_label(record, kind),
            record.actor
        );
        let mut lines = Vec::new();
        lines.extend(detail(record, "summary").map(str::to_owned));
        lines.extend(detail(record, "reason").map(|reason| format!("Reason: {reason}")));
        lines.extend(
            detail(record, "break_glass")
                .map(|codes| format!("Break-glass: it overrides the failed checks {codes}.")),
        );
        let mut notice = action_notification(
            id,
            NotificationKind::ActionRequested,
            record,
            "requested",
            &title,
            &lines,
        )?;
        notice.severity = if detail(record, "break_glass").is_some() {
            Severity::Critical
        } else {
            Severity::Warning
        };
        notice.audience = Audience::Approvers {
            except: record.actor.clone(),
        };
        Some(notice)
    }

    fn on_decided(&mut self, id: String, record: &AuditRecord, word: &str) -> Option<Notification> {
        let action = record.subject.as_deref()?;
        let request = self.requests.get(action).cloned();
        let kind = request.as_ref().and_then(|request| request.kind.as_deref());
        let title = format!("{} {word} by {}", action_label(record, kind), record.actor);
        let comment = detail(record, "comment").map(|comment| format!("Comment: {comment}"));
        let lines: Vec<String> = comment.into_iter().collect();
        let mut notice = action_notification(
            id,
            NotificationKind::ActionDecided,
            record,
            word,
            &title,
            &lines,
        )?;
        notice.audience = match request.map(|request| request.by) {
            // Whoever withdraws a request knows; those who might approve it do not.
            Some(requester) if requester == record.actor => {
                Audience::Approvers { except: requester }
            }
            Some(name) => Audience::Person { name },
            None => Audience::Everyone,
        };
        Some(notice)
    }

    fn on_ended(&mut self, id: String, record: &AuditRecord) -> Option<Notification> {
        let request = self.requests.remove(record.subject.as_deref()?);
        let kind = request.as_ref().and_then(|request| request.kind.as_deref());
        let state = detail(record, "state")?;
        // These were told as decisions.
        if matches!(state, "rejected" | "cancelled") {
            return None;
        }
        let title = format!("{} {}", action_label(record, kind), outcome_phrase(state));
        let outcome = detail(record, "outcome").filter(|outcome| !outcome.is_empty());
        let lines: Vec<String> = outcome.map(str::to_owned).into_iter().collect();
        let mut notice = action_notification(
            id,
            NotificationKind::ActionEnded,
            record,
            state,
            &title,
            &lines,
        )?;
        notice.severity = match state {
            "succeeded" => Severity::Info,
            "failed" | "unverified" => Severity::Critical,
            _ => Severity::Warning,
        };
        notice.audience = request.map_or(Audience::Everyone, |request| Audience::Person {
            name: request.by,
        });
        Some(notice)
    }
}

fn detail<'a>(record: &'a AuditRecord, name: &str) -> Option<&'a str> {
    record.detail.get(name).map(String::as_str)
}

/// The action in words: of which kind where that is known, and of which cluster.
fn action_label(record: &AuditRecord, kind: Option<&str>) -> String {
    let kind = match kind {
        Some("bootstrap") => "bootstrap",
        Some("cleanup") => "clean-up",
        Some("decommission") => "decommission",
        _ => "action",
    };
    match &record.cluster {
        Some(cluster) => format!("{cluster}: {kind}"),
        None => kind.to_owned(),
    }
}

fn outcome_phrase(state: &str) -> String {
    match state {
        "succeeded" => "succeeded".to_owned(),
        "failed" => "failed".to_owned(),
        "unverified" => "ended without proof of its outcome".to_owned(),
        "expired" => "expired".to_owned(),
        "superseded" => "was not carried out: the situation changed".to_owned(),
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
    let action = record.subject.clone()?;
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
        audience: Audience::Everyone,
    })
}

fn incident_notification(
    id: String,
    record: &AuditRecord,
    word: &str,
    severity: Severity,
) -> Notification {
    let name = detail(record, "title").or(record.subject.as_deref());
    let title = format!("Incident {word}: {}", name.unwrap_or("without a title"));
    let text = detail(record, "text").unwrap_or_default();
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
        audience: Audience::Everyone,
    }
}
