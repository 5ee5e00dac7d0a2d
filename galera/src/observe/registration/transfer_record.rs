//! What a node's agent sees of a full state transfer (SST) that the node receives or sends: the value of `transfer`.
//! For people and estimates only, never evidence.

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;
use crate::view::{TransferKind, TransferRole};

/// Longest value that is read, in bytes.
const VALUE_MAX: usize = 1_024;
/// Longest method or address, in bytes.
const TEXT_MAX: usize = 128;
/// Most bytes and bytes per second that are believed: 1 PiB.
const BYTES_MAX: u64 = 1 << 50;

/// What an agent publishes while a full state transfer lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferRecord {
    pub kind: TransferKind,
    pub role: TransferRole,
    /// `wsrep_sst_method`.
    pub method: String,
    /// Where the joiner receives: host, and port if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Bytes so far.
    pub done: u64,
    /// About how many bytes it has, by the donor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Bytes per second over the last seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// Whether a joiner has received everything, and its server is not a member yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub applying: bool,
    /// Since when, by the agent's clock.
    pub since: Timestamp,
}

impl TransferRecord {
    /// Parses the key's value; `None` if it is not a valid record, or has numbers that no transfer has.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        if value.len() > VALUE_MAX {
            return None;
        }
        let record: Self = serde_json::from_str(value).ok()?;
        let numbers = [Some(record.done), record.total, record.rate];
        let possible = numbers
            .into_iter()
            .flatten()
            .all(|number| number <= BYTES_MAX);
        let is_plain = |text: &str| {
            !text.is_empty() && text.len() <= TEXT_MAX && text.bytes().all(|b| b.is_ascii_graphic())
        };
        let plain = is_plain(&record.method) && record.address.as_deref().is_none_or(is_plain);
        (possible && plain && record.kind == TransferKind::Sst).then_some(record)
    }

    /// The key's value.
    #[must_use]
    pub fn to_value(&self) -> String {
        // Strings, numbers and times only.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The host of `address`, without port and brackets.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        let address = self.address.as_deref()?;
        match address.strip_prefix('[') {
            Some(bracketed) => bracketed.split(']').next(),
            None => match address.rsplit_once(':') {
                Some((host, _)) if !host.contains(':') => Some(host),
                _ => Some(address),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> TransferRecord {
        TransferRecord {
            kind: TransferKind::Sst,
            role: TransferRole::Receives,
            method: "mariabackup".to_owned(),
            address: Some("10.0.0.3:4444".to_owned()),
            done: 7,
            total: None,
            rate: Some(3),
            applying: false,
            since: Timestamp::from_unix_millis(1_000),
        }
    }

    #[test]
    fn impossible_values_are_no_record() {
        let valid = record().to_value();
        assert_eq!(TransferRecord::parse(&valid), Some(record()));
        for (from, to) in [
            ("\"done\":7", "\"done\":-7"),
            ("\"done\":7", "\"done\":10000000000000000000"),
            ("\"done\":7", "\"done\":99999999999999999999999"),
            ("\"done\":7", "\"done\":1.5"),
            ("\"rate\":3", "\"rate\":9223372036854775807"),
            ("mariabackup", ""),
            ("mariabackup", "a\\nb"),
            ("\"sst\"", "\"ist\""),
            ("receives", "wins"),
        ] {
            let value = valid.replace(from, to);
            assert_ne!(value, valid);
            assert_eq!(TransferRecord::parse(&value), None, "{value}");
        }
        assert_eq!(TransferRecord::parse(&"x".repeat(VALUE_MAX + 1)), None);
        assert_eq!(TransferRecord::parse(""), None);
    }

    #[test]
    fn the_host_of_an_address() {
        for (address, host) in [
            ("10.0.0.3:4444", "10.0.0.3"),
            ("n3", "n3"),
            ("[2001:db8::1]:4444", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            let record = TransferRecord {
                address: Some(address.to_owned()),
                ..record()
            };
            assert_eq!(record.host(), Some(host));
        }
    }
}
