//! The durable registration of a node, and whether what its agent reports is about the data that are registered (I34).

use serde::{Deserialize, Serialize};

use crate::position::Position;
use crate::timestamp::Timestamp;

/// Longest id that an agent publishes, in bytes.
const ID_MAX: usize = 64;

/// Whether `text` has the form of an id that agents publish: of data, or of a key.
pub(crate) fn is_plain_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !text.is_empty() && text.len() <= ID_MAX && text.bytes().all(plain)
}

/// A clean stop of a node, with its final position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanStop {
    pub position: Position,
    /// When it stopped, by its own clock.
    pub at: Option<Timestamp>,
    /// The newest fork that the data continued, 0 for none; `None` if an older agent recorded the stop. Positions of
    /// several forks cannot be compared (I35).
    #[serde(default)]
    pub fork_epoch: Option<u64>,
}

/// The durable registration: the value of the key `registered`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationRecord {
    /// When the node was first registered.
    #[serde(default)]
    pub first_seen: Option<Timestamp>,
    /// The version of the agent that wrote it.
    #[serde(default)]
    pub agent_version: Option<String>,
    /// The identity of the node's data.
    #[serde(default)]
    pub id: Option<String>,
    /// The last clean stop; removed before the server starts again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<CleanStop>,
}

impl RegistrationRecord {
    /// Parses the key's value; unreadable parts are left empty.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let mut registered: Self = serde_json::from_slice(value).unwrap_or_default();
        registered.id = registered.id.filter(|id| !id.is_empty());
        registered.stopped = registered.stopped.filter(|stopped| {
            Position::new(stopped.position.uuid, stopped.position.seqno).is_some()
        });
        registered
    }

    /// The key's value.
    #[must_use]
    pub fn to_value(&self) -> String {
        let mut value = serde_json::json!({
            "first_seen": self.first_seen,
            "agent_version": self.agent_version,
            "id": self.id,
        });
        if let Some(stopped) = &self.stopped {
            value["stopped"] = serde_json::json!({
                "position": stopped.position,
                "at": stopped.at,
            });
            if let Some(epoch) = stopped.fork_epoch {
                value["stopped"]["fork_epoch"] = epoch.into();
            }
        }
        value.to_string()
    }
}

/// Which data a node's agent reports on, compared with the data that are registered at its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReportedData {
    /// The registered data.
    Registered,
    /// Other data: the address was given to another volume or an empty container. Nothing is reported about the
    /// registered ones.
    Other,
    /// The agent is of version 0.1 and does not publish which data it reports on.
    Unnamed,
    /// No data are registered at this address.
    Unregistered,
}

impl ReportedData {
    /// Compares the identity in the durable registration, if there is one, with `reported`, the agent's `data_id`.
    #[must_use]
    pub fn compare(registered: Option<&RegistrationRecord>, reported: Option<&str>) -> Self {
        match (registered.map(|known| known.id.as_deref()), reported) {
            (None, _) => Self::Unregistered,
            (Some(_), None) => Self::Unnamed,
            (Some(Some(registered)), Some(reported)) if registered == reported => Self::Registered,
            (Some(_), Some(_)) => Self::Other,
        }
    }

    /// Whether a position that the agent reports is that of the member's data. Data with a history are registered
    /// before they are reported, so at an address without a registration there are no others.
    #[must_use]
    pub const fn proves_position(self) -> bool {
        matches!(self, Self::Registered | Self::Unregistered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i34_only_the_registered_identity_is_the_member() {
        let record = |text: &str| RegistrationRecord::parse(text.as_bytes());
        let named = record(r#"{"id":"d1"}"#);
        for (registered, reported, result) in [
            (Some(&named), Some("d1"), ReportedData::Registered),
            (Some(&named), Some("d2"), ReportedData::Other),
            (Some(&named), Some(""), ReportedData::Other),
            (Some(&named), None, ReportedData::Unnamed),
            (None, Some("d1"), ReportedData::Unregistered),
            (None, None, ReportedData::Unregistered),
        ] {
            assert_eq!(
                ReportedData::compare(registered, reported),
                result,
                "{registered:?} {reported:?}"
            );
        }
        // A registration that names no data, or is unreadable, belongs to no data.
        for text in [r#"{"id":""}"#, r#"{"id":null}"#, "{", "\u{0}", "[]"] {
            let known = record(text);
            let seen = ReportedData::compare(Some(&known), Some("d1"));
            assert_eq!(seen, ReportedData::Other, "{text}");
            let empty = ReportedData::compare(Some(&known), Some(""));
            assert_eq!(empty, ReportedData::Other, "{text}");
        }
    }
}
