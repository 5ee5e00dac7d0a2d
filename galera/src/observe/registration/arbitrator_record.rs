//! What the agent of an arbitrator (`garbd`) reports, as the value of `CLUSTER/arbitrators/NAME` under its lease.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{KeyDialect, NodeField, WAITING_REASON_MAX};
use crate::timestamp::Timestamp;

/// Longest value that is parsed, in bytes.
const VALUE_MAX: usize = 4096;
/// Members of a view that are kept.
const MEMBERS_MAX: usize = 64;
/// Longest address, in bytes.
const ADDRESS_MAX: usize = 300;

/// The name of an arbitrator: `garbd --name`, and the last segment of its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArbitratorName(Box<str>);

/// Why a text is not the name of an arbitrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArbitratorNameError {
    /// With the longest length.
    #[error("it needs 1 to {0} characters")]
    Length(usize),
    #[error("it may have letters, digits, dots, hyphens and underscores only")]
    Character,
    /// Consoles of earlier versions would take its key for that of a node.
    #[error("it is the name of a field of nodes; choose another one")]
    NodeField,
}

impl ArbitratorName {
    /// Longest name, in bytes.
    pub const MAX: usize = 64;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ArbitratorName {
    type Err = ArbitratorNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > Self::MAX {
            return Err(ArbitratorNameError::Length(Self::MAX));
        }
        let permitted = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if !text.bytes().all(permitted) {
            return Err(ArbitratorNameError::Character);
        }
        if NodeField::parse(text, KeyDialect::Galera).is_some() {
            return Err(ArbitratorNameError::NodeField);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ArbitratorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The state of an arbitrator's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArbitratorPhase {
    /// It does not run: there is no member to join.
    Waiting,
    /// It runs and has no view yet.
    Connecting,
    /// Its view is Primary.
    Primary,
    /// Its view has no quorum.
    NonPrimary,
}

/// The report of an arbitrator's agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArbitratorRecord {
    pub phase: ArbitratorPhase,
    /// Where it listens for members: host and port.
    pub address: String,
    /// Since when it has this phase, by its own clock.
    pub since: Timestamp,
    /// Why it waits, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// The history of the component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_uuid: Option<Uuid>,
    /// The members of its view, itself included, as [`short_member_id`].
    #[serde(default)]
    pub members: Vec<String>,
}

impl ArbitratorRecord {
    /// Parses the key's value; `None` if it is not a valid record.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.len() > VALUE_MAX {
            return None;
        }
        let record: Self = serde_json::from_slice(value).ok()?;
        let reason = record.waiting_for.as_ref();
        let valid = record.address.len() <= ADDRESS_MAX
            && reason.is_none_or(|reason| reason.len() <= WAITING_REASON_MAX)
            && record.members.len() <= MEMBERS_MAX;
        valid.then_some(record)
    }

    /// The key's value.
    #[must_use]
    pub fn to_value(&self) -> String {
        // Strings, numbers and times only.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A member of a view as Galera's log names it: the first and the fourth part of `wsrep_gcomm_uuid`.
#[must_use]
pub fn short_member_id(gcomm_uuid: &str) -> Option<String> {
    let mut parts = gcomm_uuid.split('-');
    let (first, fourth) = (parts.next()?, parts.nth(2)?);
    Some(format!("{first}-{fourth}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ArbitratorRecord {
        ArbitratorRecord {
            phase: ArbitratorPhase::Primary,
            address: "10.0.0.9:4567".to_owned(),
            since: Timestamp::from_unix_millis(1_790_000_000_000),
            waiting_for: None,
            state_uuid: Uuid::try_parse("5948ee3c-ebf1-11f1-a415-9ff973524c59").ok(),
            members: vec!["59485c50-aa54".to_owned(), "cc56f540-99f6".to_owned()],
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let written = record();
        assert_eq!(
            ArbitratorRecord::parse(written.to_value().as_bytes()),
            Some(written)
        );
    }

    #[test]
    fn absurd_records_are_refused() {
        let long = ArbitratorRecord {
            waiting_for: Some("x".repeat(WAITING_REASON_MAX + 1)),
            ..record()
        };
        let crowded = ArbitratorRecord {
            members: vec!["59485c50-aa54".to_owned(); MEMBERS_MAX + 1],
            ..record()
        };
        let values = [
            long.to_value(),
            crowded.to_value(),
            String::new(),
            "{}".to_owned(),
            "[1]".to_owned(),
            record().to_value().replace("primary", "king"),
            format!("{}{}", record().to_value(), " ".repeat(VALUE_MAX)),
        ];
        for value in values {
            assert_eq!(ArbitratorRecord::parse(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn names_are_segments_that_no_node_has() {
        for name in ["garb1", "db-arbiter.example_2"] {
            assert_eq!(name.parse::<ArbitratorName>().unwrap().as_str(), name);
        }
        for name in [
            "",
            "a/b",
            "a b",
            "phase",
            "wsrep_ready",
            "registered",
            "gärb",
            &"x".repeat(65),
        ] {
            assert!(name.parse::<ArbitratorName>().is_err(), "{name}");
        }
    }

    #[test]
    fn members_are_named_as_in_galeras_log() {
        let id = short_member_id("59485c50-ebf1-11f1-aa54-32e3d1292e37");
        assert_eq!(id.as_deref(), Some("59485c50-aa54"));
        assert_eq!(short_member_id("x"), None);
    }
}
