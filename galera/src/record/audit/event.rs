//! Names of audit events. `docs/audit.md` lists them.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The stable name of an audit event. A string rather than an enum, so that a replica of another version can read a
/// stored entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", schema(value_type = String))]
pub struct AuditEvent(Cow<'static, str>);

macro_rules! audit_events {
    ($($(#[$doc:meta])* $name:ident = $event:literal;)*) => {
        impl AuditEvent {
            $($(#[$doc])* pub const $name: Self = Self(Cow::Borrowed($event));)*

            /// All events that this version records.
            pub const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

audit_events! {
    /// An action was requested.
    ACTION_REQUESTED = "action_requested";
    /// An approver approved an action.
    ACTION_APPROVED = "action_approved";
    /// An approver rejected an action.
    ACTION_REJECTED = "action_rejected";
    /// The requester or an administrator withdrew an action.
    ACTION_CANCELLED = "action_cancelled";
    /// A comment was added to an action.
    ACTION_COMMENTED = "action_commented";
    /// An approver opened an action by the link of a notification.
    ACTION_LINK_OPENED = "action_link_opened";
    /// A replica started to execute an action.
    ACTION_BEGAN = "action_began";
    /// Another replica continued an action.
    ACTION_TAKEN_OVER = "action_taken_over";
    /// The intention of a step was written.
    ACTION_STEP = "action_step";
    /// The result of a step was written.
    ACTION_ANSWERED = "action_answered";
    /// An action reached a final state.
    ACTION_ENDED = "action_ended";
    /// The keys that a clean-up removed were restored.
    CLEANUP_UNDONE = "cleanup_undone";
    /// A registered node was admitted as a member.
    NODE_ADMITTED = "node_admitted";
    /// An alarm about the data of a cluster was raised.
    HISTORY_ALARM_RAISED = "history_alarm_raised";
    /// Alarms about the data of a cluster were acknowledged.
    HISTORY_ALARMS_ACKNOWLEDGED = "history_alarms_acknowledged";
    /// Findings of at least a warning opened.
    FINDINGS_OPENED = "findings_opened";
    /// Findings ended.
    FINDINGS_ENDED = "findings_ended";
    /// A finding was acknowledged.
    FINDING_ACKNOWLEDGED = "finding_acknowledged";
    /// The acknowledgement of a finding was withdrawn.
    FINDING_REOPENED = "finding_reopened";
    /// Recovery was resumed.
    RECOVERY_SWITCHED_ON = "recovery_switched_on";
    /// Recovery was paused.
    RECOVERY_SWITCHED_OFF = "recovery_switched_off";
    /// A user signed in.
    SIGNED_IN = "signed_in";
    /// A sign-in failed: invalid user name, password or code, or a disabled account.
    SIGN_IN_FAILED = "sign_in_failed";
    /// A user signed out.
    SIGNED_OUT = "signed_out";
    /// A session was ended, by its user or an administrator.
    SESSION_ENDED = "session_ended";
    /// Every session of an account was ended.
    SESSIONS_ENDED = "sessions_ended";
    /// A user proved again to be the account's owner.
    STEP_UP = "step_up";
    /// The password or code of a step-up was wrong.
    STEP_UP_FAILED = "step_up_failed";
    /// The key that signs sessions was replaced.
    SESSION_KEY_ROTATED = "session_key_rotated";
    /// Former keys of sessions were removed.
    SESSION_KEY_REMOVED = "session_key_removed";
    /// A second factor was enrolled.
    FACTOR_ENROLLED = "factor_enrolled";
    /// A second factor was removed by its user.
    FACTOR_REMOVED = "factor_removed";
    /// A second factor was reset by an administrator.
    FACTOR_RESET = "factor_reset";
    /// New recovery codes were created.
    RECOVERY_CODES_RENEWED = "recovery_codes_renewed";
    /// A recovery code was used.
    RECOVERY_CODE_USED = "recovery_code_used";
    /// An account was added.
    ACCOUNT_ADDED = "account_added";
    /// The password of an account was changed.
    ACCOUNT_PASSWORD_CHANGED = "account_password_changed";
    /// The e-mail address of an account was changed or removed.
    ACCOUNT_EMAIL_CHANGED = "account_email_changed";
    /// The roles of an account were changed.
    ACCOUNT_ROLES_CHANGED = "account_roles_changed";
    /// The groups of an account were changed.
    ACCOUNT_GROUPS_CHANGED = "account_groups_changed";
    /// An account was disabled.
    ACCOUNT_DISABLED = "account_disabled";
    /// An account was enabled.
    ACCOUNT_ENABLED = "account_enabled";
    /// An account was removed.
    ACCOUNT_REMOVED = "account_removed";
    /// An API token was created.
    TOKEN_CREATED = "token_created";
    /// An API token was revoked.
    TOKEN_REVOKED = "token_revoked";
    /// An API token was used for the first time.
    TOKEN_FIRST_USED = "token_first_used";
    /// An API token was used from an address from which it had not been used.
    TOKEN_USED_ELSEWHERE = "token_used_elsewhere";
    /// A notification target was added.
    NOTIFY_TARGET_ADDED = "notify_target_added";
    /// A notification target was changed.
    NOTIFY_TARGET_CHANGED = "notify_target_changed";
    /// A notification target was removed.
    NOTIFY_TARGET_REMOVED = "notify_target_removed";
    /// A test was sent to a notification target.
    NOTIFY_TARGET_TESTED = "notify_target_tested";
    /// A delivery was queued again.
    NOTICE_REDELIVERED = "notice_redelivered";
    /// A status page was created.
    PAGE_CREATED = "page_created";
    /// The settings of a status page were changed.
    PAGE_CHANGED = "page_changed";
    /// A status page was deleted.
    PAGE_DELETED = "page_deleted";
    /// A secret link to a status page was created.
    LINK_CREATED = "link_created";
    /// A secret link to a status page was revoked.
    LINK_REVOKED = "link_revoked";
    /// An incident was opened.
    INCIDENT_OPENED = "incident_opened";
    /// An update that does not resolve it was added to an incident.
    INCIDENT_UPDATED = "incident_updated";
    /// An incident was resolved.
    INCIDENT_RESOLVED = "incident_resolved";
    /// Maintenance was scheduled.
    MAINTENANCE_PLANNED = "maintenance_planned";
    /// Maintenance was ended early or cancelled.
    MAINTENANCE_ENDED = "maintenance_ended";
    /// An announcement was published.
    ANNOUNCEMENT_MADE = "announcement_made";
    /// An announcement was withdrawn.
    ANNOUNCEMENT_WITHDRAWN = "announcement_withdrawn";
    /// The records of a console without a state secret were sealed.
    RECORDS_SEALED = "records_sealed";
    /// A record was changed outside the console.
    RECORD_TAMPERED = "record_tampered";
    /// The audit trail was changed outside the console.
    AUDIT_TRAIL_TAMPERED = "audit_trail_tampered";
    /// The oldest entries were moved to an archive.
    AUDIT_TRAIL_ARCHIVED = "audit_trail_archived";
    /// etcd holds an earlier state than was seen.
    EARLIER_STATE_FOUND = "earlier_state_found";
    /// etcd's database is near its quota.
    ETCD_SPACE_LOW = "etcd_space_low";
    /// Records that are older than seen, or missing, were accepted as they are.
    RECORDS_ACCEPTED = "records_accepted";
    /// A record that is ignored was removed.
    RECORD_DISCARDED = "record_discarded";
    /// The console's state was exported to a file.
    STATE_EXPORTED = "state_exported";
    /// The console's state was imported from a file.
    STATE_IMPORTED = "state_imported";
    /// A replica read its configuration again, and settings had changed.
    CONFIGURATION_RELOADED = "configuration_reloaded";
    /// An administrator acknowledged the alarms about changes outside the console.
    ALARMS_ACKNOWLEDGED = "alarms_acknowledged";
}

impl AuditEvent {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the subject is the id of an action, also for events of another version.
    #[must_use]
    pub fn is_about_action(&self) -> bool {
        self.0.starts_with("action_") || *self == Self::CLEANUP_UNDONE
    }

    /// Whether the subject is an account whose owner should know of it, also for events of another version.
    #[must_use]
    pub fn concerns_account(&self) -> bool {
        const STARTS: [&str; 5] = ["account_", "factor_", "recovery_code", "session", "token_"];
        const NOT: [AuditEvent; 2] = [
            AuditEvent::SESSION_KEY_ROTATED,
            AuditEvent::SESSION_KEY_REMOVED,
        ];
        let is_sign_in = [Self::SIGNED_IN, Self::SIGN_IN_FAILED].contains(self);
        let begins = STARTS.iter().any(|start| self.0.starts_with(start));
        is_sign_in || (begins && !NOT.contains(self))
    }
}

impl fmt::Display for AuditEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names of details that notifications are made from. Other details are only shown.
pub mod detail {
    /// `action_requested`: the kind of action.
    pub const KIND: &str = "kind";
    /// `action_requested`: the plan in a sentence.
    pub const SUMMARY: &str = "summary";
    /// `action_requested`, `node_admitted`: the reason given.
    pub const REASON: &str = "reason";
    /// `action_requested`: the number of approvals that the action needs.
    pub const APPROVALS_NEEDED: &str = "approvals_needed";
    /// `action_requested`: the overridden checks, if any.
    pub const BREAK_GLASS: &str = "break_glass";
    /// `action_approved`, `action_rejected`, `action_cancelled`: the comment, if any.
    pub const COMMENT: &str = "comment";
    /// `action_link_opened`, `action_approved`: the name of the notification target whose link was opened.
    pub const NOTIFICATION_TARGET: &str = "notification_target";
    /// `action_ended`: the final state.
    pub const STATE: &str = "state";
    /// `action_ended`: why it ended.
    pub const OUTCOME: &str = "outcome";
    /// `incident_opened`, `incident_updated`, `incident_resolved`: the incident's title.
    pub const TITLE: &str = "title";
    /// `incident_opened`, `incident_updated`, `incident_resolved`: the text of the newest update; `etcd_space_low`: sizes
    /// and remedy.
    pub const TEXT: &str = "text";
    /// `findings_opened`, `findings_ended`: `CODE=SEVERITY`, separated by commas.
    pub const FINDINGS: &str = "findings";
    /// `findings_opened`, `findings_ended`: the nodes concerned, separated by commas.
    pub const NODES: &str = "nodes";
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::record::audit::AuditEntry;

    #[test]
    fn documentation_lists_exactly_these_events() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/audit.md");
        let page = std::fs::read_to_string(page).unwrap();
        let (_, events) = page.split_once("## Events").unwrap();
        let listed: Vec<&str> = events
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        let recorded: Vec<&str> = AuditEvent::ALL.iter().map(AuditEvent::as_str).collect();
        assert_eq!(listed, recorded);
    }

    #[test]
    fn entries_of_this_and_another_version_keep_their_json() {
        let recorded = |event: &str, subject: &str| {
            format!(
                r#"{{"sequence":7,"at":"2026-11-27T22:00:00Z","actor":"olga","event":"{event}","cluster":"lab","subject":"{subject}","detail":{{"kind":"bootstrap"}},"previous":"00","hash":"ff"}}"#
            )
        };
        let json = recorded("action_requested", "19d0a6f1e2c3-0badcafe");
        let entry: AuditEntry = serde_json::from_str(&json).unwrap();
        assert_eq!(entry.record.event, AuditEvent::ACTION_REQUESTED);
        assert_eq!(serde_json::to_string(&entry).unwrap(), json);
        let json = recorded("lock_stolen", "lab");
        let entry: AuditEntry = serde_json::from_str(&json).unwrap();
        assert!(!AuditEvent::ALL.contains(&entry.record.event));
        assert_eq!(serde_json::to_string(&entry).unwrap(), json);
    }

    #[test]
    fn subjects_of_actions_are_recognized() {
        let about_action = AuditEvent::ALL
            .iter()
            .filter(|event| event.is_about_action());
        assert_eq!(about_action.count(), 12);
        let unknown: AuditEvent = serde_json::from_str("\"action_postponed\"").unwrap();
        assert!(unknown.is_about_action());
        assert!(!AuditEvent::ACCOUNT_ADDED.is_about_action());
    }
}
