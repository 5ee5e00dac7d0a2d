//! What a sealed record is, for people who decide about one that is ignored.

use std::fmt;

use crate::keyspace::below;

/// The kind of a sealed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    Account,
    SecondFactor,
    ExternalIdentity,
    ProviderSession,
    Session,
    SessionKey,
    Token,
    TokenUse,
    Action,
    OpenAction,
    RecoverySwitch,
    ExpectedMembers,
    KnownPositions,
    PositionCorrection,
    HistoryAlarms,
    Findings,
    EventHistory,
    NotificationTarget,
    NotificationProgress,
    StatusPageItem,
    AuditRecord,
    Authority,
    StateFormat,
}

/// The folders, and single keys.
const PLACES: [(&str, RecordKind); 28] = [
    ("users/", RecordKind::Account),
    ("factors/", RecordKind::SecondFactor),
    ("identities/", RecordKind::ExternalIdentity),
    ("provider-sessions/", RecordKind::ProviderSession),
    ("sessions/", RecordKind::Session),
    ("keys/", RecordKind::SessionKey),
    ("tokens/", RecordKind::Token),
    ("token-uses/", RecordKind::TokenUse),
    ("actions/", RecordKind::Action),
    ("open/", RecordKind::OpenAction),
    ("switches/", RecordKind::RecoverySwitch),
    ("expected/", RecordKind::ExpectedMembers),
    ("positions/", RecordKind::KnownPositions),
    ("corrections/", RecordKind::PositionCorrection),
    ("alarms/", RecordKind::HistoryAlarms),
    ("findings/", RecordKind::Findings),
    ("chronicle/", RecordKind::EventHistory),
    ("notify/courses/", RecordKind::NotificationProgress),
    ("notify/reading", RecordKind::NotificationProgress),
    ("notify/queued/", RecordKind::NotificationProgress),
    ("notify/settled/", RecordKind::NotificationProgress),
    ("notify/", RecordKind::NotificationTarget),
    ("status/", RecordKind::StatusPageItem),
    ("audit/", RecordKind::AuditRecord),
    ("authority", RecordKind::Authority),
    ("acknowledgement", RecordKind::Authority),
    ("format", RecordKind::StateFormat),
    ("", RecordKind::Authority),
];

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "account",
            Self::SecondFactor => "second factor of an account",
            Self::ExternalIdentity => "identity of a person at an identity provider",
            Self::ProviderSession => "ID token of a session",
            Self::Session => "session",
            Self::SessionKey => "key that signs sessions",
            Self::Token => "API token",
            Self::TokenUse => "last use of an API token",
            Self::Action => "action",
            Self::OpenAction => "note that a cluster has an open action",
            Self::RecoverySwitch => "recovery switch",
            Self::ExpectedMembers => "expected members of a cluster",
            Self::KnownPositions => "known positions of a cluster",
            Self::PositionCorrection => "correction of known positions",
            Self::HistoryAlarms => "alarms about the data of a cluster",
            Self::Findings => "open and acknowledged findings of a cluster",
            Self::EventHistory => "part of the event history",
            Self::NotificationTarget => "notification target",
            Self::NotificationProgress => "note of what was notified",
            Self::StatusPageItem => "part of a status page",
            Self::AuditRecord => "record about the audit trail",
            Self::Authority => "record about the sealing",
            Self::StateFormat => "format of the state",
        })
    }
}

impl RecordKind {
    /// The kind of the record at `key` below `state_prefix`.
    #[must_use]
    pub fn of(state_prefix: &str, key: &str) -> Self {
        PLACES
            .iter()
            .find(|(place, _)| key.starts_with(&below(state_prefix, place)))
            .map_or(Self::Authority, |(_, kind)| *kind)
    }

    /// What to do about an ignored record at `key` that must not simply be removed; `None` for one that may be.
    #[must_use]
    pub fn other_remedy(self, key: &str) -> Option<String> {
        let name = key.rsplit('/').next().unwrap_or_default();
        Some(match self {
            Self::Account => {
                format!("run galera-console user remove {name}, and user add to create it again")
            }
            Self::SecondFactor => format!("run galera-console user reset-factor {name}"),
            Self::RecoverySwitch => {
                "resume or pause recovery in the console, which writes it again".to_owned()
            }
            Self::SessionKey => {
                "run galera-console secret rotate-session-key --end-sessions".to_owned()
            }
            Self::AuditRecord => {
                "the console continues the trail; run galera-console audit verify".to_owned()
            }
            Self::Authority => "start the console, which reports what it finds".to_owned(),
            _ => return None,
        })
    }

    /// Whether an older record, or its absence, may be accepted as it is.
    #[must_use]
    pub fn is_acceptable(self) -> bool {
        !matches!(self, Self::Session | Self::SessionKey | Self::AuditRecord)
    }
}

/// What a genuine record says, in a few words and without secrets.
#[must_use]
pub fn describe_content(kind: RecordKind, content: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(content).ok()?;
    let names: &[&str] = match kind {
        RecordKind::Action => &[
            "kind",
            "cluster",
            "state",
            "requested_by",
            "requester",
            "created_at",
        ],
        RecordKind::Account => &["roles", "disabled", "changed_at"],
        RecordKind::Session => &["username", "created_at", "expires_at"],
        RecordKind::NotificationTarget => &["name", "kind"],
        _ => &["at", "by", "actor", "cluster", "title", "reason", "before"],
    };
    let named: Vec<String> = names
        .iter()
        .filter_map(|name| {
            let text = match value.get(name)? {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let text: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
            Some(format!("{name} {text}"))
        })
        .collect();
    (!named.is_empty()).then(|| named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::protected_prefixes;

    #[test]
    fn every_protected_record_has_a_kind() {
        for prefix in protected_prefixes("/s") {
            let kind = RecordKind::of("/s", &prefix);
            let is_single = !prefix.ends_with('/');
            assert!(is_single || kind != RecordKind::Authority, "{prefix}");
        }
        assert_eq!(RecordKind::of("/s", "/s/actions/1-2"), RecordKind::Action);
        assert_eq!(RecordKind::of("/s", "/s/authority"), RecordKind::Authority);
    }

    #[test]
    fn a_description_has_no_secret_and_no_control_characters() {
        let account = br#"{"password_hash":"$argon2id$x","roles":["admin"],"disabled":false}"#;
        let text = describe_content(RecordKind::Account, account).unwrap();
        assert_eq!(text, "roles [\"admin\"], disabled false");
        let session = b"{\"username\":\"a\\u001b[2Jb\"}";
        let text = describe_content(RecordKind::Session, session).unwrap();
        assert_eq!(text, "username a[2Jb");
        assert_eq!(describe_content(RecordKind::Action, b"\xff"), None);
    }
}
